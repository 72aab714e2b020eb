"""Find the layers that behave differently on hallucinated answers, from the activation dump."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from avss_core.data.rows import Row, read_prepared
from avss_core.display.steps import working
from avss_core.files.writing import read_json
from avss_core.hallucination.localization import (
    READINGS,
    Localization,
    find_reading,
    localize,
    mean_over_sets,
    probe_auroc,
)
from avss_core.hallucination.samples import SampleActivations, load_samples
from avss_core.jobs.job_records import Bands
from avss_core.jobs.job_records import Localization as LocalizationRecord
from avss_core.scores.ranking import kendall_tau, rank_agreement
from avss_core.settings.params import Params


def localize_layers(
    activations: Path, site: str, *, reading: str, resamples: int, seed: int
) -> LocalizationRecord:
    """Return every EAVSS reading of each layer, the layers ordered by the chosen one, and a linear probe.

    The probe is fitted on train questions and measured on validation questions; without either it has no
    value. Intervals are over questions; a question may have a supplied and a generated pair of answers.
    Readings are means over the question sets. The record also has those of each set, and of each source if
    there are both; a set or source with fewer than two questions is left out.
    """
    samples = load_samples(activations / f"{site}.safetensors")
    rows = read_prepared(activations / "samples.jsonl")
    everything = list(range(len(rows)))

    def measured(part: list[int]) -> dict[str, Localization]:
        return _localized(samples, rows, part, resamples, seed)

    def over_sets(part: list[int]) -> dict[str, Localization]:
        sets = [measured(own) for own in _parts(rows, "set", part).values()] or [measured(part)]
        return {name: mean_over_sets([own[name] for own in sets]) for name in READINGS}

    with working(f"intervals over {resamples:,} resamples of the questions"):
        readings = over_sets(everything)
        sources = _parts(rows, "source", everything)
        by_source = {name: over_sets(part) for name, part in sources.items()} if len(sources) > 1 else {}
    with working(f"probes at {samples.pooled.shape[1]} layers"):
        probe = _probe(samples, rows)
    scores = {name: each.values for name, each in readings.items()} | {"probe_auroc": probe}
    return {
        "reading": reading,
        "reference": find_reading(reading).reference,
        "site": site,
        "answers": read_json(activations / "answers.json"),
        "questions": _questions(rows),
        "pairs": len(rows) // 2,
        "readings": _bands(readings),
        "sets": {name: _bands(measured(part)) for name, part in _parts(rows, "set", everything).items()},
        "sources": {name: _bands(own) for name, own in by_source.items()},
        "source_agreement": _between(list(by_source.values())),
        "probe_auroc": [None if math.isnan(value) else value for value in probe.tolist()],
        "probe_questions": _questions([row for row in rows if row["split"] == "validation"]),
        "agreement": rank_agreement(scores),
        "most_prone": readings[reading].order,
    }


def localization_settings(params: Params) -> dict[str, Any]:
    """Return the reading that chooses, and how its intervals are drawn, as arguments of `localize_layers`."""
    return {
        "site": params.collect.dump_site,
        "reading": params.localize.reading,
        "resamples": params.localize.resamples,
        "seed": params.seed,
    }


def _localized(
    samples: SampleActivations, rows: list[Row], part: list[int], resamples: int, seed: int
) -> dict[str, Localization]:
    """Return every reading of some rows, in which the two answers of each pair follow each other."""
    wrong, right = ([i for i in part if rows[i]["hallucinated"] is kind] for kind in (True, False))
    hallucinated, truthful = samples.select(torch.tensor(wrong)), samples.select(torch.tensor(right))
    asked = [rows[i]["question"] for i in wrong]
    return {
        name: localize(hallucinated, truthful, name, questions=asked, seed=seed, resamples=resamples)
        for name in READINGS
    }


def _bands(readings: Mapping[str, Localization]) -> Bands:
    """Return readings as JSON values."""
    return {
        name: {"values": each.values.tolist(), "low": each.low.tolist(), "high": each.high.tolist()}
        for name, each in readings.items()
    }


def _parts(rows: list[Row], field: str, of: list[int]) -> dict[str, list[int]]:
    """Return some rows by the value of a field, without values that have fewer than two questions."""
    parts: dict[str, list[int]] = {}
    for i in of:
        parts.setdefault(rows[i][field], []).append(i)
    return {name: part for name, part in parts.items() if _questions([rows[i] for i in part]) > 1}


def _questions(rows: list[Row]) -> int:
    """Return the number of different questions."""
    return len({row["question"] for row in rows})


def _between(sources: Sequence[Mapping[str, Localization]]) -> dict[str, float | None]:
    """Return Kendall's tau between the two sources by reading; empty without both."""
    if len(sources) < 2:
        return {}
    first, second = sources
    return {name: kendall_tau(first[name].values.tolist(), second[name].values.tolist()) for name in READINGS}


def _probe(samples: SampleActivations, rows: list[Row]) -> Tensor:
    """Return the probe's AUROC by layer, NaN if there is no train or no validation row."""
    train, validation = (
        [i for i, row in enumerate(rows) if row["split"] == split] for split in ("train", "validation")
    )
    if not train or not validation:
        return torch.full(samples.pooled.shape[1:2], math.nan, dtype=torch.float64)
    return probe_auroc(*(samples.select(torch.tensor(part)) for part in (train, validation)))
