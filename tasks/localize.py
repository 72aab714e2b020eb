"""Find the layers that behave differently on hallucinated answers, from the activation dump alone."""

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from prefect import task
from torch import Tensor

from avss_core.files.writing import read_json
from avss_core.hallucination.localization import (
    READINGS,
    Localisation,
    find_reading,
    localise,
    mean_over_sets,
    probe_auroc,
)
from avss_core.hallucination.samples import SampleActivations, load_samples
from avss_core.scores.ranking import rank_agreement
from tasks.data.rows import Row, read_prepared
from tasks.progress.steps import working

Readings = dict[str, dict[str, list[float]]]
"""Each reading by name: its values by layer, and the low and high ends of their intervals."""


@task(name="localize-layers")
def localize_layers(
    activations: Path, site: str, *, reading: str, resamples: int, seed: int
) -> dict[str, Any]:
    """Return every EAVSS reading of each layer, the layers in order of the chosen one, and the outside check.

    All figures come from train and validation questions; the probe is fitted on the first and measured on the
    second, and has no value where one of them lacks answers. Intervals are over questions, of which one may
    have a supplied and a generated pair of answers. The readings are means over the question sets; beside
    them stand those of each set, and of each source where there are both, as far as they have two questions.
    """
    samples = load_samples(activations / f"{site}.safetensors")
    rows = read_prepared(activations / "samples.jsonl")
    everything = list(range(len(rows)))

    def measured(part: list[int]) -> dict[str, Localisation]:
        return _localised(samples, rows, part, resamples, seed)

    def over_sets(part: list[int]) -> Readings:
        found = [measured(own) for own in _parts(rows, "set", part).values()] or [measured(part)]
        return _record({name: mean_over_sets([own[name] for own in found]) for name in READINGS})

    with working(f"intervals over {resamples:,} resamples of the questions"):
        found = over_sets(everything)
        sources = _parts(rows, "source", everything)
        by_source = {name: over_sets(part) for name, part in sources.items()} if len(sources) > 1 else {}
    with working(f"probes at {samples.pooled.shape[1]} layers"):
        probe = _probe(samples, rows)
    chosen = found[reading]["values"]
    return {
        "reading": reading,
        "reference": find_reading(reading).reference,
        "site": site,
        "answers": read_json(activations / "answers.json"),
        "questions": _questions(rows),
        "pairs": len(rows) // 2,
        "readings": found,
        "sets": {name: _record(measured(part)) for name, part in _parts(rows, "set", everything).items()},
        "sources": by_source,
        "source_agreement": _between(by_source),
        "probe_auroc": [None if math.isnan(value) else value for value in probe.tolist()],
        "probe_questions": _questions([row for row in rows if row["split"] == "validation"]),
        "agreement": rank_agreement({**_scores(found), "probe_auroc": probe}),
        "most_prone": sorted(range(len(chosen)), key=lambda layer: -chosen[layer]),
    }


def _localised(
    samples: SampleActivations, rows: list[Row], part: list[int], resamples: int, seed: int
) -> dict[str, Localisation]:
    """Return every reading of some rows, which hold whole pairs, in their order."""
    wrong, right = ([i for i in part if rows[i]["hallucinated"] is kind] for kind in (True, False))
    hallucinated, truthful = samples.select(torch.tensor(wrong)), samples.select(torch.tensor(right))
    asked = [rows[i]["question"] for i in wrong]
    return {
        name: localise(hallucinated, truthful, name, questions=asked, seed=seed, resamples=resamples)
        for name in READINGS
    }


def _record(found: Mapping[str, Localisation]) -> Readings:
    """Return readings as JSON values."""
    return {
        name: {end: getattr(each, end).tolist() for end in ("values", "low", "high")}
        for name, each in found.items()
    }


def _parts(rows: list[Row], field: str, of: list[int]) -> dict[str, list[int]]:
    """Return those of some rows with each value of a field that has two questions or more."""
    parts: dict[str, list[int]] = {}
    for i in of:
        parts.setdefault(rows[i][field], []).append(i)
    return {name: part for name, part in parts.items() if _questions([rows[i] for i in part]) > 1}


def _questions(rows: list[Row]) -> int:
    """Return how many questions the rows ask."""
    return len({row["question"] for row in rows})


def _scores(readings: Mapping[str, Mapping[str, list[float]]]) -> dict[str, Tensor]:
    """Return the values of each reading."""
    return {name: torch.tensor(each["values"], dtype=torch.float64) for name, each in readings.items()}


def _between(sources: Mapping[str, Readings]) -> dict[str, float | None]:
    """Return Kendall's tau between the two sources by reading, nothing where there are not both."""
    if len(sources) < 2:
        return {}
    first, second = map(_scores, sources.values())
    return {name: rank_agreement({"a": first[name], "b": second[name]})["a"]["b"] for name in READINGS}


def _probe(samples: SampleActivations, rows: list[Row]) -> Tensor:
    """Return the probe's AUROC by layer, nan where the train or the validation part is empty."""
    train, validation = (
        [i for i, row in enumerate(rows) if row["split"] == split] for split in ("train", "validation")
    )
    if not train or not validation:
        return torch.full(samples.pooled.shape[1:2], math.nan, dtype=torch.float64)
    return probe_auroc(*(samples.select(torch.tensor(part)) for part in (train, validation)))
