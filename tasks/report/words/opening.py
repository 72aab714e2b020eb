"""The first words of a run, for readers of ten seconds: what went, what was kept, whether to use it."""

from collections.abc import Iterator, Mapping

from avss_core.metrics.records import Entry, Retention
from avss_core.metrics.retention import fallen
from tasks.records import Mitigation, ModelFigures, RunRecords
from tasks.report.variants import MEAN, control_sides, kept_tables, retentions, trained_base
from tasks.report.words.evidence import certain, few_kept, set_sides
from tasks.report.words.findings import unmoved
from tasks.report.words.headline import CLAIM, against_claim
from tasks.report.words.wording import SPACE, counted, joined, layers_text, sentence

LONGEST = 20
"""Most words of a sentence."""

PARTS = {"text": "language modelling, NLL", "answers": MEAN, "sentiment": "sentiment, accuracy"}
"""What the picture and the sentences speak of, by the names of the shares kept in `variants.retentions`."""


def opening(records: RunRecords, minimum: float | None) -> list[str]:
    """Return at most five sentences of at most `LONGEST` words each: the picture of the run in words.

    A share counts as below or above the 90 % of the paper only with its whole interval.

    Args:
        records: the records of the run.
        minimum: the setting `gates.min_retention`, None without a gate.
    """
    tables = kept_tables(records)
    last = tables[[*tables][-1]]
    return [
        _went(records),
        *_kept(tables),
        _trained(records["mitigation"], trained_base(records)),
        _use(last, minimum, records["manifest"]["origin"]),
    ]


def shares(table: Retention) -> dict[str, Entry | None]:
    """Return what is kept of text, answers and sentiment; None where the run can say nothing of it."""
    entries, unsaid = dict(retentions(table)), few_kept(table)
    return {
        part: None if name in unsaid or entries[name]["value"] is None else entries[name]
        for part, name in PARTS.items()
    }


def _went(records: RunRecords) -> str:
    """Return how many layers went, by which choice, and which: as a list, as ranges, or their ends."""
    provenance = records["pruned"]["provenance"]
    removed, score = sorted(provenance["removed"]), provenance["score"]
    by = "named in the settings" if score == "explicit list" else f"chosen by {score}"
    start = f"{len(removed)} of {counted(records['card']['layers'], 'layer')} went, {by}"
    ends = f"from {layers_text(removed[:1])} to {removed[-1]}"
    texts = [f"{start}: {which}." for which in (layers_text(removed), f"layers {_ranges(removed)}", ends)]
    return next((text for text in texts if len(text.split()) <= LONGEST), texts[-1])


def _ranges(layers: list[int]) -> str:
    """Return ascending layers with runs of three or more as ranges: 0 to 5, 9 and 12."""
    runs: list[list[int]] = []
    for layer in layers:
        if runs and layer == runs[-1][-1] + 1:
            runs[-1].append(layer)
        else:
            runs.append([layer])
    parts = [[f"{run[0]} to {run[-1]}"] if len(run) > 2 else run for run in runs]
    return joined(each for part in parts for each in part)


def _kept(tables: Mapping[str, Retention]) -> Iterator[str]:
    """Yield what the last model keeps of the dense one, and what was kept before repair and healing."""
    steps = [name for name in tables if name != "pruned"]
    kept, before = shares(tables[[*tables][-1]]), shares(tables["pruned"])
    told, untold = _percentages(kept), [part for part, entry in kept.items() if entry is None]
    head = f"{sentence(joined(steps))}, the model keeps" if steps else "The pruned model keeps"
    tail = f"{joined(untold)} cannot be judged"
    if not told:
        yield f"{sentence(tail)}."
        return
    of = joined(f"{share} of {part}" for part, share in told.items())
    yield f"{head} {of}{f'; {tail}' if untold else ''}."
    first = [share for part, share in _percentages(before).items() if part in told]
    if steps and len(first) == len(told):
        yield f"Right after pruning it was {joined(first)}."


def _percentages(kept: Mapping[str, Entry | None]) -> dict[str, str]:
    """Return the known shares in whole percent."""
    return {
        part: f"{100 * entry['value']:z.0f}{SPACE}%"
        for part, entry in kept.items()
        if entry is not None and entry["value"] is not None
    }


def _trained(mitigation: Mitigation, base: ModelFigures) -> str:
    """Return how many figures of answers the training of the prone layers changed for certain."""
    count = len(mitigation["training"]["dense_layers"])
    subject = f"training {counted(count, 'prone layer')} of the {mitigation['base']} model"
    if unmoved(mitigation, base):
        return f"{sentence(subject)} did not measurably move it."
    said = certain(mitigation["mitigated_against_base"], set_sides(base, mitigation["mitigated"]))
    better, worse = said.count("better"), said.count("worse")
    if not said:
        return f"Too few questions to say whether {subject} helped."
    if not better and not worse:
        return f"{sentence(subject)} changed none of {counted(len(said), 'answer figure')} for certain."
    against = [
        tone
        for control, sets in mitigation["against_controls"].items()
        for tone in certain(sets, {name: control_sides(mitigation, control, name) for name in sets})
    ]
    beside = "" if "better" in against else ", no better than controls" if against else ", no control trained"
    counts = f"{better} of {counted(len(said), 'answer figure')} better, {worse} worse"
    return f"{sentence(subject)}: {counts}{beside}."


def _use(table: Retention, minimum: float | None, origin: Mapping[str, str]) -> str:
    """Return whether to use the last model in place of the dense one."""
    line, gate = f"{100 * CLAIM:.0f}{SPACE}%", ""
    if minimum is not None:
        gate = f"the gate of {100 * minimum:.4g}{SPACE}%"
        if under := fallen(table, minimum):
            return f"Do not use it: {counted(len(under), 'figure')} kept too little for {gate}."
    kept = shares(table)
    unsaid = [part for part, entry in kept.items() if entry is None]
    places = {part: against_claim(entry) for part, entry in kept.items() if entry}
    below = [part for part, place in places.items() if place == "below"]
    unsure = [part for part, place in places.items() if place == "not certain"]
    if below:
        start = "Do not use it in place of the dense model"
        why = f"{joined(below)} {'stay' if len(below) > 1 else 'stays'} below {line}"
    elif unsaid:
        start = "Whether to use it is open"
        why = (
            f"{joined(unsaid)} cannot be judged"
            if gate
            else f"too few rows or right answers to judge {joined(unsaid)}"
        )
    elif unsure:
        start, why = "Whether to use it is open", f"{joined(unsure)} may lie below {line}"
    elif "sample" in origin.values():
        where = "on the project's sample: measure on your own data first"
        return f"{sentence(gate)} held {where}." if gate else f"All three stay above {line} {where}."
    else:
        start, why = "Use it", f"{joined(kept)} stay above {line}"
        return f"{start}: {why}{f', and {gate} held' if gate else ''}."
    return f"{sentence(gate)} held; {why}: use it with care." if gate else f"{start}: {why}."
