"""Every finding of a run in words, each following from numbers and their intervals."""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence

from avss_core.metrics.agreement import apart
from avss_core.metrics.records import Changes, Contrast, Entry
from tasks.records import (
    BothRetentions,
    Mitigation,
    ModelFigures,
    Repair,
    RunRecords,
    SentimentFigures,
    SetFigures,
)
from tasks.report.variants import control_sides, in_brief, in_order, kept_rows, trained_base, variants
from tasks.report.words.evidence import (
    NOT_SURE,
    called,
    few,
    few_kept,
    few_reviews,
    overall,
    set_sides,
    tones,
)
from tasks.report.words.wording import (
    NAMES,
    Figure,
    Verdict,
    change_text,
    counted,
    joined,
    layers_text,
    moved,
    number,
    sentence,
    share_kept,
    with_interval,
)

_ONE: Entry = {"value": 1.0, "low": 1.0, "high": 1.0}


def findings(records: RunRecords) -> list[Verdict]:
    """Return all that a run found: pruning, repair, healing, training, and the training's controls."""
    evaluation, mitigation = records["evaluation"], records["mitigation"]
    dense, pruned, base = evaluation["dense"], evaluation["pruned"], trained_base(records)
    after = mitigation["mitigated"]
    return [
        _removal(records),
        *_changes("after pruning", dense, pruned, evaluation["pruned_against_dense"]),
        _sentiment(dense["sentiment"], pruned["sentiment"], "dense", "pruned"),
        *_repair(records),
        *_healing(records),
        _training(mitigation, base),
        *_changes("after training", base, after, mitigation["mitigated_against_base"]),
        _sentiment(base["sentiment"], after["sentiment"], mitigation["base"], "trained"),
        *control_verdicts(mitigation),
    ]


def _removal(records: RunRecords) -> Verdict:
    """Return what was removed, and what that did to the loss on test text."""
    provenance, evaluation = records["pruned"]["provenance"], records["evaluation"]
    before, after = (evaluation[name]["language_modelling"]["nll"] for name in ("dense", "pruned"))
    removed = provenance["removed"]
    sure = apart(evaluation["retention"]["language_modelling"]["nll_retention"], _ONE)
    tone = "same" if not sure else "worse" if after > before else "better"
    return Verdict(
        tone,
        f"The loss on test text {moved('nll', before, after)} nats per token when {len(removed)} of "
        f"{records['card']['layers']} layers were removed ({layers_text(removed)}, chosen by "
        f"{provenance['score']}){'' if sure else '; the interval of the ratio contains 1'}. "
        f"{records['pruned']['parameters']:,} of {records['card']['parameters']:,} parameters are left.",
    )


def _repair(records: RunRecords) -> Iterator[Verdict]:
    """Yield what repair brought back, nothing if it is switched off."""
    evaluation = records["evaluation"]
    if "repaired" in evaluation:
        repaired = evaluation["repaired"]
        yield from _brought_back(
            repair_text(records["repair"]),
            "after repair",
            (evaluation["dense"], evaluation["pruned"], repaired["figures"]),
            {"before": evaluation["retention"], "after": repaired["retention"]},
            repaired["against_pruned"],
        )


def _healing(records: RunRecords) -> Iterator[Verdict]:
    """Yield what healing brought back, nothing if it is switched off."""
    healing = records["healing"]
    if healing["enabled"]:
        models = variants(records)
        yield from _brought_back(
            f"healing on {healing['training']['tokens']:,} tokens",
            "after healing",
            (models["dense"], models[healing["base"]], healing["healed"]),
            healing["retention"],
            healing["healed_against_base"],
        )


def repair_text(repair: Repair) -> str:
    """Return what repair did: refitting 14 projections to 16,384 tokens."""
    fit = repair["fit"]
    changed = sum(each["ridge"] is not None for each in fit["projections"])
    return f"refitting {counted(changed, 'projection')} to {fit['tokens']:,} tokens"


def _brought_back(
    how: str,
    when: str,
    models: tuple[ModelFigures, ModelFigures, ModelFigures],
    kept: BothRetentions,
    changes: Mapping[str, Changes],
) -> Iterator[Verdict]:
    """Yield what a step brought back; `models` are the dense one, that before and that after the step."""
    goal, before, after = (side["language_modelling"]["nll"] for side in models)
    sure = apart(*(kept[side]["language_modelling"]["nll_retention"] for side in ("before", "after")))
    unsaid = few_kept(kept["after"])
    yield Verdict(
        "same" if not sure else "better" if after < before else "worse",
        f"The loss on test text {moved('nll', before, after)} nats per token by {how}; the dense model's is "
        f"{number(goal)}. Kept of the dense model's figures:",
        tuple(
            f"{name}: {unsaid.get(name) or _both_shares(row['before'], row['after'])}"
            for name, row in kept_rows({"before": kept["before"], "after": kept["after"]}).items()
            if in_brief(name)
        ),
    )
    yield from _changes(when, models[1], models[2], changes)


def _both_shares(before: Entry, after: Entry) -> str:
    """Return what is kept before and after a step."""
    return f"{share_kept(before)} before, {share_kept(after)} after"


def _training(mitigation: Mitigation, before: ModelFigures) -> Verdict:
    """Return what was trained, and the loss on text, which has no paired interval."""
    training = mitigation["training"]
    losses = (model["language_modelling"]["nll"] for model in (before, mitigation["mitigated"]))
    still = unmoved(mitigation, before)
    return Verdict(
        "fact",
        f"The loss on test text {moved('nll', *losses)} nats per token by training "
        f"{layers_text(training['dense_layers'])} of the {mitigation['base']} model on "
        f"{training['train_pairs']} pairs of answers.{f' {sentence(still)}.' if still else ''}",
    )


def unmoved(mitigation: Mitigation, base: ModelFigures) -> str:
    """Return that a training changed nothing that three digits show, "" if it did.

    Args:
        mitigation: the record of the stage.
        base: the figures of the model that was trained.
    """
    after, before = (
        model["language_modelling"]["token_perplexity"] for model in (mitigation["mitigated"], base)
    )
    if round(mitigation["divergence"]["value"] or 0, 3) or round(after / before, 3) != 1:
        return ""
    training = mitigation["training"]
    did = f"{counted(len(training['steps']), 'step')} on {counted(training['train_pairs'], 'pair')}"
    return f"{did} did not measurably move the model: more rows or epochs are needed"


def _changes(
    when: str, before: ModelFigures, after: ModelFigures, changes: Mapping[str, Contrast]
) -> Iterator[Verdict]:
    """Yield a verdict each for what is worse, better, not judged and unchanged, and for too few questions."""
    sides = {name: each for name, each in set_sides(before, after).items() if name in changes}
    by_tone: dict[str, list[tuple[str, Figure]]] = defaultdict(list)
    for change, tone in tones(changes, sides).items():
        by_tone[tone].append(change)
    unsure = by_tone.pop("unsure", [])
    total = sum(map(len, by_tone.values()))
    for tone, said in {"worse": "worse", "better": "better", "hollow": "not judged"}.items():
        if by_tone[tone]:
            why = f": {NOT_SURE}" if tone == "hollow" else ""
            lines = tuple(_lines(by_tone[tone], sides, changes))
            head = f"{_count(by_tone[tone], total)} {said} {when}{why}."
            yield Verdict("same" if tone == "hollow" else tone, head, lines)
    if by_tone["same"]:
        unchanged = f"{_count(by_tone['same'], total)} not certainly different {when}"
        yield Verdict("same", f"{unchanged}: the 95\u00a0% interval of the change contains zero.")
    if unsure:
        least = {name: min(each, key=lambda side: side["n"]) for name, each in sides.items()}
        yield Verdict("unsure", f"{sentence(when)}: {few(least)}.")


def _count(some: Sequence[object], total: int) -> str:
    """Return how many of all figures something holds for, with the verb."""
    return f"{len(some)} of {total} figures {'is' if len(some) == 1 else 'are'}"


def _lines(
    some: Sequence[tuple[str, Figure]],
    sides: Mapping[str, Sequence[SetFigures]],
    changes: Mapping[str, Contrast],
) -> Iterator[str]:
    """Yield a line for each figure: how it moved on each set."""
    for figure, label in NAMES.items():
        texts = [
            f"{name} {moved(figure, *(side[figure]['value'] for side in sides[name]))} "
            f"({change_text(figure, changes[name][figure])})"
            for name, key in some
            if key == figure
        ]
        if texts:
            yield f"{label}: {'; '.join(texts)}"


def _sentiment(before: SentimentFigures, after: SentimentFigures, first: str, second: str) -> Verdict:
    """Return how sentiment accuracy changed from one model to the next; without pairs, intervals decide."""
    unsaid = few_reviews((before, after))
    if unsaid:
        return Verdict("unsure", f"Sentiment of the {first} and the {second} model: {unsaid}.")
    was, now = before["accuracy"], after["accuracy"]
    sure = apart(was, now)
    better = (now["value"] or 0) > (was["value"] or 0)
    return Verdict(
        "same" if not sure else "better" if better else "worse",
        f"Sentiment accuracy is {with_interval('accuracy', was)} for the {first} and "
        f"{with_interval('accuracy', now)} for the {second} model: "
        f"{'the intervals are apart' if sure else 'the intervals overlap, so no difference is certain'}.",
    )


_SUBJECTS = {
    "cross_entropy": "Contrastive training against cross entropy alone on the same layers",
    "random": "Layers chosen by EAVSS against layers drawn at random",
    "lowest": "The most prone layers against the least prone ones",
    "all": "The chosen layers against all layers at a lower rank",
}
_OUTCOMES = {
    "better": "better on",
    "worse": "worse on",
    "mixed": "better in some figures and worse in others on",
    "same": "no certain difference on",
}


def control_verdicts(mitigation: Mitigation) -> Iterator[Verdict]:
    """Yield a verdict for each control: the sets on which the mitigation is better, worse or no different."""
    for control, sets in in_order(mitigation["against_controls"]).items():
        sides = {name: control_sides(mitigation, control, name) for name in sets}
        by_set = {
            name: {figure: called(figure, sets[name][figure], sides[name]) for figure in NAMES}
            for name in sets
        }
        said = {name: overall(by_figure.values()) for name, by_figure in by_set.items()}
        parts = [
            f"{words} {joined(names)}"
            for tone, words in _OUTCOMES.items()
            if (names := [name for name in sets if said[name] == tone])
        ]
        small = few({name: mitigation["mitigated"]["sets"][name] for name in sets})
        draws = sum(name.startswith("random_") for name in mitigation["controls"])
        about = f" (mean of {draws} draws)" if control == "random" else ""
        yield Verdict(
            overall(said.values()),
            f"{_SUBJECTS[control]}{about}: {'; '.join(filter(None, [*parts, small]))}.",
            tuple(
                f"{name}: {_line(sets[name], by_figure)}"
                for name, by_figure in by_set.items()
                if said[name] != "unsure"
            ),
        )


def _line(entries: Contrast, said: Mapping[Figure, str]) -> str:
    """Return the certain differences of a set, then the others."""
    parts = []
    for head, wanted in _HEADS.items():
        texts = [
            f"{NAMES[figure]} {change_text(figure, entries[figure])}"
            for figure, tone in said.items()
            if tone in wanted and entries[figure]["value"] is not None
        ]
        parts += [f"{head}{', '.join(texts)}"] if texts else []
    return "; ".join(parts)


_HEADS = {"": ("better", "worse"), "not certain: ": ("same",), f"not judged ({NOT_SURE}): ": ("hollow",)}
