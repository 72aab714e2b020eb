"""Several scores of one model side by side: what each removes, their agreement, and how sure each is."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import NamedTuple

from avss_core.scores.choice import Removal, choose_layers
from avss_core.scores.evidence import Measured
from avss_core.scores.layer_scores import LayerScores
from avss_core.scores.ranking import rank_agreement
from avss_core.scores.score_records import Need, ScoredReadings
from avss_core.scores.scores import find_score
from avss_core.scores.stability import LEAST_PARTS, OtherText, stability_record


class Reading(NamedTuple):
    """A score with its seed, and the label that tells it from another seed of the same score."""

    label: str
    score: str
    seed: int


def score_readings(
    readings: Sequence[Reading],
    measured: Mapping[Need, Measured],
    removal: Removal,
    *,
    other_text: Mapping[Need, OtherText],
) -> ScoredReadings:
    """Return every layer's score by each reading, the layers that it removes, and how sure that choice is.

    Args:
        readings: what to score by.
        measured: evidence for each need of the readings.
        removal: how many layers go, and which are protected.
        other_text: what other text would have shown, for each need that was measured on a text in parts.

    Raises:
        ValueError: what a reading needs was not measured, or as `choose_layers`.
    """
    scored: dict[str, LayerScores] = {}
    for label, name, seed in readings:
        evidence = measured[find_score(name).needs]
        scored[label] = LayerScores.of(name, replace(evidence, whole=replace(evidence.whole, seed=seed)))
    records = {label: scores.record(**removal) for label, scores in scored.items()}
    # Orders that nothing was measured for agree with others by chance, or as depth does.
    compared = {label: each.values for label, each in scored.items() if records[label]["needs"] != "nothing"}
    choose = partial(choose_layers, **removal)
    stability = {
        label: stability_record(
            record["removed"], other_text[record["needs"]], find_score(record["score"]).function, choose
        )
        for label, record in records.items()
        if record["needs"] in other_text
    }
    units = {label: measured[record["needs"]].units for label, record in records.items()}
    thin = {label: count for label, count in units.items() if count is not None and count < LEAST_PARTS}
    return {"readings": records, "agreement": rank_agreement(compared), "stability": stability, "thin": thin}
