"""What a comparison of two runs found, in sentences that follow from the numbers."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from tasks.compare.terms import (
    KINDS,
    both_sides,
    both_text,
    difference_text,
    first_few,
    reasons,
    shared_notes,
)
from tasks.report.words.evidence import NOT_SURE, few, few_reviews
from tasks.report.words.wording import NAMES, Verdict, figure_text, joined, listed, number

Found = Mapping[str, Any]


def verdicts(found: Found) -> list[Verdict]:
    """Return what the comparison found; better and worse speak of run B."""
    return [
        _made_of(found["differs"], found["unrecorded"]),
        *_only(found["only"]),
        *_not_comparable(found),
        _choice(found["choice"]),
        *_costs(found["readings"], found["choice"]["score"]),
        *(verdict for name, model in found["models"].items() for verdict in _model(name, model)),
        _prone(found["eavss"]),
        _trained(found["mitigation"]),
    ]


def _made_of(differs: Found, unrecorded: Sequence[str]) -> Verdict:
    """Return in what the runs differ before any result."""
    known = {kind: values for kind, values in differs.items() if values}
    same = [KINDS[kind] for kind in differs if kind not in known and kind not in unrecorded]
    tail = f" One of them did not record its {joined(unrecorded)}." if unrecorded else ""
    if not known:
        return Verdict("same", f"A and B do not differ in {joined(same)}.{tail}")
    lines = [f"{KINDS[kind]}: {first_few(values)}" for kind, values in known.items()]
    agree = f" Both have the same {joined([words.removeprefix('the ') for words in same])}." if same else ""
    return Verdict(
        "fact",
        f"A and B differ in {joined([KINDS[kind] for kind in known])}.{agree}{tail}",
        tuple(lines),
    )


def _only(only: Found) -> Iterator[Verdict]:
    """Yield what only one of the runs has, and which is therefore not compared."""
    lines = [
        f"{what} of {key.upper()}: {listed(held)}"
        for what, sides in only.items()
        for key, held in sides.items()
        if held
    ]
    if lines:
        yield Verdict("fact", "In one of the runs only, and so not compared:", tuple(lines))


def _not_comparable(found: Found) -> Iterator[Verdict]:
    """Yield the warning of what cannot be compared, and of what is compared in part."""
    why = reasons(found)
    if why:
        lines = [f"{reason}: {listed(names)}" for reason, names in why.items()]
        yield Verdict(
            "void", "Some figures of A and B stand side by side but cannot be compared:", tuple(lines)
        )
    notes = shared_notes(found)
    if notes:
        yield Verdict("void", "Not all test questions are the same ones:", tuple(notes))


def _choice(choice: Found) -> Verdict:
    """Return which layers the pruned models lost."""
    scores, depths = choice["score"], choice["layers"]
    how = f"by {scores[0]}" if scores[0] == scores[1] else f"A by {scores[0]}, B by {scores[1]}"
    if depths[0] != depths[1]:
        counts = [len(removed) for removed in choice["removed"]]
        return Verdict(
            "fact",
            f"A removes {counts[0]} of {depths[0]} layers, B {counts[1]} of {depths[1]} ({how}); layers of "
            "models of different depth are not the same ones.",
        )
    if not choice["only_first"] and not choice["only_second"]:
        return Verdict("same", f"Both remove the same layers ({how}): {listed(choice['shared'])}.")
    return Verdict(
        "fact",
        f"The removed layers ({how}) share {len(choice['shared'])}: {listed(choice['shared'])}. "
        f"Only A removes {listed(choice['only_first'])}, only B {listed(choice['only_second'])}.",
    )


def _costs(readings: Found, scores: Sequence[str]) -> Iterator[Verdict]:
    """Yield what each run's choice costs, and how the ranks agree where both chose by the same score."""
    known = readings["scores"].get(scores[0]) if scores[0] == scores[1] else None
    tau = None if known is None else known["tau"]
    agree = "" if tau is None else f" Ranks by {scores[0]} agree with Kendall's tau {number(tau, 2)}."
    cost = readings["chosen"]
    if cost and cost["tone"] != "void":
        text = f"Loss on held-out calibration text after the removal: {_loss(cost)}."
        yield Verdict(cost["tone"], f"{text}{agree}")
    elif agree:
        yield Verdict("fact", f"The calibration texts are not the same.{agree}")


def _model(name: str, model: Found) -> Iterator[Verdict]:
    """Yield what changed in the figures of one model: questions, then text and sentiment."""
    head = f"The {name} model"
    if _identical(model):
        yield Verdict(
            "same", f"{head}'s figures of question sets, text and sentiment are the same in A and B."
        )
        return
    text, feeling = model["text"]["nll"], model["sentiment"]["accuracy"]
    if text["tone"] != "void":
        yield Verdict(text["tone"], f"{head}, loss on test text: {_loss(text)}.")
    yield from _figures(head, model["sets"])
    if feeling["tone"] == "unsure":
        yield Verdict("unsure", f"{head}, sentiment accuracy: {_few_reviews(model, feeling)}.")
    elif feeling["tone"] != "void":
        sides = " and ".join(
            f"{each} in {key}" for key, each in zip("AB", both_text("accuracy", feeling), strict=True)
        )
        how = "in pairs" if feeling["paired"] else "by two intervals"
        yield Verdict(
            feeling["tone"],
            f"{head}, sentiment accuracy: {sides}; {difference_text('accuracy', feeling)}, {how}.",
        )


def _identical(model: Found) -> bool:
    """Tell whether all figures of a model can be compared, and are equal."""
    entries = [model["text"]["nll"], model["sentiment"]["accuracy"]]
    entries += [entry for each in model["sets"].values() for entry in each["figures"].values()]
    return all(entry["tone"] != "void" and entry["a"] == entry["b"] for entry in entries)


def _figures(head: str, sets: Found) -> Iterator[Verdict]:
    """Yield what is surely better, what is surely worse, and how many figures are neither."""
    tones: dict[str, list[tuple[str, str]]] = {"better": [], "worse": [], "same": [], "hollow": []}
    for figure in NAMES:
        for name, entry in sets.items():
            each = entry["figures"][figure]
            if each["tone"] in tones:
                values = " to ".join(figure_text(figure, side["value"]) for side in both_sides(each))
                how = "" if each["paired"] else ", by two intervals"
                tones[each["tone"]].append(
                    (figure, f"{name} {values} ({difference_text(figure, each)}{how})")
                )
    count = sum(map(len, tones.values()))
    for tone in ("better", "worse"):
        if tones[tone]:
            lines = tuple(
                f"{label}: {'; '.join(text for name, text in tones[tone] if name == figure)}"
                for figure, label in NAMES.items()
                if any(name == figure for name, _ in tones[tone])
            )
            yield Verdict(
                tone,
                f"{head}: B is {tone} beyond the interval in {len(tones[tone])} of {count} figures.",
                lines,
            )
    if tones["hollow"]:
        lines = tuple(text for _, text in tones["hollow"])
        yield Verdict("same", f"{head}, not judged: {NOT_SURE}.", lines)
    if tones["same"]:
        yield Verdict(
            "same",
            f"{head}: no certain difference in {len(tones['same'])} of {count} figures of question sets.",
        )
    small = {
        name: {"n": entry["shared"] or min(entry["n"])}
        for name, entry in sets.items()
        if any(each["tone"] == "unsure" for each in entry["figures"].values())
    }
    if small:
        yield Verdict("unsure", f"{head}: {few(small)}.")


def _few_reviews(model: Found, entry: Found) -> str:
    """Return that there are too few reviews to compare."""
    return few_reviews([{"n": entry["paired"] or min(model["sentiment"]["n"])}])


def _prone(eavss: Found) -> Verdict:
    """Return whether the same layers look prone to hallucinate."""
    readings, count = eavss["reading"], len(eavss["most_prone"][0])
    tau = eavss["tau"].get(readings[0]) if readings[0] == readings[1] else None
    tail = "" if tau is None else f"; Kendall's tau of all layers is {number(tau, 2)}"
    how = readings[0] if readings[0] == readings[1] else f"A by {readings[0]}, B by {readings[1]}"
    same = not eavss["only_first"] and not eavss["only_second"]
    unsaid = few({key: {"n": asked} for key, asked in zip("AB", eavss["questions"], strict=True)})
    if unsaid:
        tail += f": {unsaid}"
    return Verdict(
        "unsure" if unsaid else "same" if same else "fact",
        f"Of the {count} layers most prone to hallucinate ({how}) A and B share {len(eavss['shared'])}: "
        f"{listed(eavss['shared'])}{tail}.",
    )


def _trained(mitigation: Found) -> Verdict:
    """Return what was trained."""
    layers, pairs, base = mitigation["layers"], mitigation["train_pairs"], mitigation["base"]
    if layers[0] == layers[1] and pairs[0] == pairs[1] and base[0] == base[1]:
        return Verdict(
            "same", f"Both train layers {listed(layers[0])} of the {base[0]} model on {pairs[0]:,} pairs."
        )
    sides = [
        f"{key} trains layers {listed(layers[i])} of the {base[i]} model on {pairs[i]:,} pairs of answers"
        for i, key in enumerate("AB")
    ]
    return Verdict("fact", f"{'; '.join(sides)}.")


def _loss(entry: Found) -> str:
    """Return a loss of both runs with its change."""
    sides = [
        f"{number(side['value'])} nats a token in {key}"
        for key, side in zip("AB", both_sides(entry), strict=True)
    ]
    how = f"in pairs over {entry['paired']} windows" if entry["paired"] else "by two intervals"
    return f"{' and '.join(sides)} ({difference_text('nll', entry)}, {how})"
