"""What a comparison of two runs says, in sentences that follow from the numbers."""

from collections.abc import Iterable, Iterator, Mapping, Sequence

from tasks.compare.comparison import (
    Choice,
    Compared,
    ComparedEavss,
    ComparedMitigation,
    ComparedModel,
    ComparedSet,
    Comparison,
    Readings,
)
from tasks.report.words.evidence import NOT_SURE, few, few_reviews
from tasks.report.words.wording import (
    NAMES,
    NONE,
    Verdict,
    change_text,
    figure_text,
    interval_text,
    joined,
    listed,
    number,
)

KINDS = {"model": "the model", "data": "the data", "versions": "versions", "parameters": "parameters"}
"""What two runs can differ in, and its name in a sentence."""

MARKS = {
    "better": "▲ B is better",
    "worse": "▼ B is worse",
    "same": "· no certain difference",
    "unsure": "· too few to say",
    "hollow": "· no answer is right",
    "void": "! not comparable",
    "fact": "· fact",
}
"""What stands beside a figure of both runs or before a sentence, by its tone."""

_MOST_NAMES = 8
"""Names that a sentence lists; more are counted."""


def verdicts(comparison: Comparison) -> list[Verdict]:
    """Return what the comparison says; better and worse speak of run B."""
    choice = comparison["choice"]
    return [
        _differences(comparison["differs"], comparison["unrecorded"]),
        *_only(comparison["only"]),
        *_not_comparable(comparison),
        _choice(choice),
        *_costs(comparison["readings"], choice["score"]),
        *(verdict for name, model in comparison["models"].items() for verdict in _model(name, model)),
        _prone(comparison["eavss"]),
        _trained(comparison["mitigation"]),
    ]


def reasons(comparison: Comparison) -> dict[str, list[str]]:
    """Return why figures cannot be compared, each reason with the names of the figures."""
    named = [("costs of the scores", comparison["readings"]["reasons"])]
    for model in comparison["models"].values():
        named += [(name, entry["reasons"]) for name, entry in model["sets"].items()]
        named += [("test text", model["text"]["reasons"]), ("sentiment", model["sentiment"]["reasons"])]
    names: dict[str, dict[str, None]] = {}
    for name, why in named:
        for reason in why:
            names.setdefault(reason, {})[name] = None
    return {reason: list(each) for reason, each in names.items()}


def both_text(figure: str, entry: Compared) -> tuple[str, str]:
    """Return a figure of both runs, each with its interval."""
    a, b = (
        f"{figure_text(figure, side['value'])} {interval_text(figure, side)}".strip()
        for side in (entry["a"], entry["b"])
    )
    return a, b


def difference_text(figure: str, entry: Compared) -> str:
    """Return B minus A, with its interval if it is paired; a dash if the two cannot be compared."""
    if entry["tone"] == "void" or entry["change"]["value"] is None:
        return NONE
    return change_text(figure, entry["change"]).strip()


def _differences(differs: Mapping[str, Mapping[str, object]], unrecorded: Sequence[str]) -> Verdict:
    """Return in what the runs differ before any result."""
    known = {kind: names for kind, names in differs.items() if names}
    same = [KINDS[kind] for kind in differs if kind not in known and kind not in unrecorded]
    tail = f" One of them did not record its {joined(unrecorded)}." if unrecorded else ""
    if not known:
        return Verdict("same", f"A and B do not differ in {joined(same)}.{tail}")
    agree = f" Both have the same {joined([words.removeprefix('the ') for words in same])}." if same else ""
    return Verdict(
        "fact",
        f"A and B differ in {joined([KINDS[kind] for kind in known])}.{agree}{tail}",
        tuple(f"{KINDS[kind]}: {_first_few(list(names))}" for kind, names in known.items()),
    )


def _first_few(names: Sequence[str]) -> str:
    """Return names, the last ones counted if there are many."""
    more = len(names) - _MOST_NAMES
    return f"{listed(names[:_MOST_NAMES])} and {more} more" if more > 0 else listed(names)


def _only(only: Mapping[str, Mapping[str, Sequence[str]]]) -> Iterator[Verdict]:
    """Yield what only one of the runs has, and is therefore not compared."""
    lines = [
        f"{what} of {run.upper()}: {listed(names)}"
        for what, sides in only.items()
        for run, names in sides.items()
        if names
    ]
    if lines:
        yield Verdict("fact", "In one of the runs only, and so not compared:", tuple(lines))


def _not_comparable(comparison: Comparison) -> Iterator[Verdict]:
    """Yield the warning of what cannot be compared, and of what is compared in part."""
    lines = [f"{reason}: {listed(names)}" for reason, names in reasons(comparison).items()]
    if lines:
        text = "Some figures of A and B stand side by side but cannot be compared:"
        yield Verdict("void", text, tuple(lines))
    notes = [
        f"{name}: {entry['n'][0]} questions in A and {entry['n'][1]} in B; changes are of the "
        f"{entry['shared']} that both runs asked"
        for name, entry in next(iter(comparison["models"].values()))["sets"].items()
        if entry["shared"] and set(entry["n"]) != {entry["shared"]}
    ]
    if notes:
        yield Verdict("void", "Not all test questions are the same:", tuple(notes))


def _choice(choice: Choice) -> Verdict:
    """Return which layers the pruned models lost."""
    depths, how = choice["layers"], _named(choice["score"])
    if depths[0] != depths[1]:
        counts = [len(removed) for removed in choice["removed"]]
        return Verdict(
            "fact",
            f"A removes {counts[0]} of {depths[0]} layers, B {counts[1]} of {depths[1]} ({how}); layers of "
            "models of different depth are not the same.",
        )
    if not choice["only_first"] and not choice["only_second"]:
        return Verdict("same", f"Both remove the same layers ({how}): {listed(choice['shared'])}.")
    return Verdict(
        "fact",
        f"The removed layers ({how}) share {len(choice['shared'])}: {listed(choice['shared'])}. "
        f"Only A removes {listed(choice['only_first'])}, only B {listed(choice['only_second'])}.",
    )


def _costs(readings: Readings, scores: Sequence[str]) -> Iterator[Verdict]:
    """Yield what each run's choice costs, and how the ranks agree if both chose by the same score."""
    known = readings["scores"].get(scores[0]) if scores[0] == scores[1] else None
    tau = known and known["tau"]
    agree = "" if tau is None else f" Ranks by {scores[0]} agree with Kendall's tau {number(tau, 2)}."
    cost = readings["chosen"]
    if cost and cost["tone"] != "void":
        text = f"Loss on held-out calibration text after the removal: {_loss(cost)}."
        yield Verdict(cost["tone"], f"{text}{agree}")
    elif agree:
        yield Verdict("fact", f"The calibration texts are not the same.{agree}")


def _model(name: str, model: ComparedModel) -> Iterator[Verdict]:
    """Yield what changed in the figures of one model: text, question sets, then sentiment."""
    head = f"The {name} model"
    text, reviews = model["text"]["nll"], model["sentiment"]["accuracy"]
    entries = [text, reviews, *(each for held in model["sets"].values() for each in held["figures"].values())]
    if all(entry["tone"] != "void" and entry["a"] == entry["b"] for entry in entries):
        yield Verdict(
            "same", f"{head}'s figures of question sets, text and sentiment are the same in A and B."
        )
        return
    if text["tone"] != "void":
        yield Verdict(text["tone"], f"{head}, loss on test text: {_loss(text)}.")
    yield from _figures(head, model["sets"])
    if reviews["tone"] == "unsure":
        why = few_reviews([{"n": reviews["paired"] or min(model["sentiment"]["n"])}])
        yield Verdict("unsure", f"{head}, sentiment accuracy: {why}.")
    elif reviews["tone"] != "void":
        how = "in pairs" if reviews["paired"] else "by two intervals"
        sides = _sides(both_text("accuracy", reviews))
        text_of = f"{sides}; {difference_text('accuracy', reviews)}, {how}"
        yield Verdict(reviews["tone"], f"{head}, sentiment accuracy: {text_of}.")


def _figures(head: str, sets: Mapping[str, ComparedSet]) -> Iterator[Verdict]:
    """Yield what is certainly better, what is certainly worse, and how many figures are neither."""
    told: dict[str, dict[str, list[str]]] = {}
    for figure, label in NAMES.items():
        for name, compared in sets.items():
            entry = compared["figures"][figure]
            values = " to ".join(figure_text(figure, entry[side]["value"]) for side in ("a", "b"))
            how = "" if entry["paired"] else ", by two intervals"
            text = f"{name} {values} ({difference_text(figure, entry)}{how})"
            told.setdefault(entry["tone"], {}).setdefault(label, []).append(text)
    counts = {tone: sum(map(len, figures.values())) for tone, figures in told.items()}
    count = sum(number for tone, number in counts.items() if tone not in ("void", "unsure"))
    for tone in ("better", "worse"):
        if tone in told:
            text = f"{head}: B is {tone} beyond the interval in {counts[tone]} of {count} figures."
            yield Verdict(tone, text, _lines(told[tone]))
    if "hollow" in told:
        yield Verdict("same", f"{head}, not judged: {NOT_SURE}.", _lines(told["hollow"]))
    if "same" in told:
        text = f"{head}: no certain difference in {counts['same']} of {count} figures of question sets."
        yield Verdict("same", text)
    small = {
        name: {"n": compared["shared"] or min(compared["n"])}
        for name, compared in sets.items()
        if any(entry["tone"] == "unsure" for entry in compared["figures"].values())
    }
    if small:
        yield Verdict("unsure", f"{head}: {few(small)}.")


def _lines(figures: Mapping[str, Iterable[str]]) -> tuple[str, ...]:
    """Return one line for each figure, with its sets."""
    return tuple(f"{label}: {'; '.join(texts)}" for label, texts in figures.items())


def _prone(eavss: ComparedEavss) -> Verdict:
    """Return whether the same layers look prone to hallucinate."""
    readings = eavss["reading"]
    tau = eavss["tau"].get(readings[0]) if readings[0] == readings[1] else None
    agree = "" if tau is None else f"; Kendall's tau of all layers is {number(tau, 2)}"
    unsaid = few({run: {"n": asked} for run, asked in zip("AB", eavss["questions"], strict=True)})
    same = not eavss["only_first"] and not eavss["only_second"]
    return Verdict(
        "unsure" if unsaid else "same" if same else "fact",
        f"A and B share {len(eavss['shared'])} of the {len(eavss['most_prone'][0])} layers most prone to "
        f"hallucinate ({_named(readings)}): {listed(eavss['shared'])}{agree}{unsaid and f': {unsaid}'}.",
    )


def _trained(mitigation: ComparedMitigation) -> Verdict:
    """Return what was trained."""
    layers, pairs, bases = mitigation["layers"], mitigation["train_pairs"], mitigation["base"]
    what = [
        f"layers {listed(layers[i])} of the {bases[i]} model on {pairs[i]:,} pairs of answers" for i in (0, 1)
    ]
    if what[0] == what[1]:
        return Verdict("same", f"Both train {what[0]}.")
    return Verdict("fact", f"A trains {what[0]}; B trains {what[1]}.")


def _loss(entry: Compared) -> str:
    """Return a loss of both runs with its change."""
    sides = _sides([f"{number(side['value'])} nats a token" for side in (entry["a"], entry["b"])])
    how = f"in pairs over {entry['paired']} windows" if entry["paired"] else "by two intervals"
    return f"{sides} ({difference_text('nll', entry)}, {how})"


def _sides(texts: Iterable[str]) -> str:
    """Return what holds in A and in B."""
    return " and ".join(f"{text} in {run}" for text, run in zip(texts, "AB", strict=True))


def _named(names: Sequence[str]) -> str:
    """Return by what both runs chose."""
    return f"by {names[0]}" if names[0] == names[1] else f"A by {names[0]}, B by {names[1]}"
