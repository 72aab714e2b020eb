"""Find the layers that behave differently on hallucinated answers, from the activation dump alone."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from prefect import task

from avss_core.localization import READINGS, find_reading, localise, probe_auroc
from avss_core.ranking import rank_agreement
from avss_core.samples import SampleActivations, load_samples
from tasks.rows import Row, read_prepared


@task(name="localize-layers")
def localize_layers(
    activations: Path, site: str, *, reading: str, resamples: int, seed: int, sets: Sequence[str]
) -> dict[str, Any]:
    """Return every EAVSS reading of each layer, the layers in order of the chosen one, and the outside check.

    All figures come from train and validation questions; the probe is fitted on the first and measured on the
    second.
    """
    samples = load_samples(activations / f"{site}.safetensors")
    rows = read_prepared(activations / "samples.jsonl")
    found: dict[str, dict[str, Any]] = {
        name: {"values": _values(samples, rows, name, lambda row: True)} for name in READINGS
    }
    found[reading] = _with_interval(samples, rows, reading, resamples, seed)
    pooled = {name: torch.tensor(record["values"], dtype=torch.float64) for name, record in found.items()}
    train = _rows(samples, rows, lambda row: row["split"] == "train")
    validation = _rows(samples, rows, lambda row: row["split"] == "validation")
    probe = probe_auroc(train, validation)
    chosen = found[reading]["values"]
    return {
        "reading": reading,
        "reference": find_reading(reading).reference,
        "site": site,
        "questions": len(rows) // 2,
        "readings": found,
        "sets": {
            name: _values(samples, rows, reading, lambda row, name=name: row["set"] == name) for name in sets
        },
        "probe_auroc": probe.tolist(),
        "probe_questions": len(validation.ids) // 2,
        "agreement": rank_agreement({**pooled, "probe_auroc": probe}),
        "most_prone": sorted(range(len(chosen)), key=lambda layer: -chosen[layer]),
    }


def _with_interval(
    samples: SampleActivations, rows: list[Row], name: str, resamples: int, seed: int
) -> dict[str, Any]:
    """Return one reading over all questions with intervals."""
    found = localise(*_halves(samples, rows, lambda row: True), name, seed=seed, resamples=resamples)
    return {"values": found.values.tolist(), "low": found.low.tolist(), "high": found.high.tolist()}


def _values(samples: SampleActivations, rows: list[Row], name: str, where: Any) -> list[float]:
    """Return one reading over a part of the questions."""
    return find_reading(name).function(*_halves(samples, rows, where)).tolist()


def _halves(
    samples: SampleActivations, rows: list[Row], where: Any
) -> tuple[SampleActivations, SampleActivations]:
    """Return the hallucinated and the truthful answers of the same questions, row by row."""
    return (
        _rows(samples, rows, lambda row: row["hallucinated"] and where(row)),
        _rows(samples, rows, lambda row: not row["hallucinated"] and where(row)),
    )


def _rows(samples: SampleActivations, rows: list[Row], where: Any) -> SampleActivations:
    """Return the samples whose row fulfils a condition."""
    return samples.select(torch.tensor([i for i, row in enumerate(rows) if where(row)], dtype=torch.long))
