"""The tables of a run as CSV files, which MLflow shows and `dvc plots` draws, from the stages' records.

The columns are the same in every run, whatever its parameters: only the rows vary.
"""

import csv
import io
from collections.abc import Mapping, Sequence
from itertools import accumulate
from pathlib import Path
from typing import Any

from avss_core.files.writing import write_text
from avss_core.metrics.records import Retention
from tasks.records import (
    ComparedCost,
    HealingTraining,
    Localization,
    MitigationTraining,
    ModelFigures,
    RunRecords,
    Scores,
)
from tasks.report.standard_tasks import TaskRow, task_rows
from tasks.report.variants import ends, retentions, rungs, variants

Row = dict[str, Any]
Rows = list[Row]


def score_rows(scores: Scores) -> Rows:
    """Return a row for each score and layer: the score, its share of the sum, whether it is removed."""
    return [
        {
            "series": name,
            "layer": layer,
            "score": score,
            "share": reading["normalised"][layer],
            "removed": "yes" if layer in reading["removed"] else "no",
        }
        for name, reading in sorted(scores["readings"].items())
        for layer, score in enumerate(reading["scores"])
    ]


def removal_rows(scores: Scores) -> Rows:
    """Return a row for each score: the layers that it chooses, and the loss (nats per token) without them.

    Behind it stands another one for the loss after a repair, if that was measured.
    """
    rows: Rows = [{"name": "dense, nothing removed", **_loss(scores["dense"]), "layers": ""}]
    for name, reading in sorted(scores["readings"].items()):
        layers = " ".join(map(str, reading["removed"]))
        rows.append({"name": name, **_loss(reading["cost"]), "layers": layers})
        if "repaired" in reading:
            rows.append({"name": f"{name}, repaired", **_loss(reading["repaired"]), "layers": layers})
    return rows


def standard_rows(tasks: Sequence[TaskRow]) -> Rows:
    """Return a row for each model, standard task and figure, in the form of `figure_rows`."""
    return [
        {
            "model": model,
            "set": row.task,
            "figure": row.figure,
            **ends(entry),
            "n": row.n,
        }
        for row in tasks
        for model, entry in row.values.items()
    ]


def figure_rows(models: Mapping[str, ModelFigures]) -> Rows:
    """Return a row for each model, question set and figure, with its 95 % interval and n."""
    return [
        {
            "model": model,
            "set": name,
            "figure": figure,
            **{key: entry[key] for key in ("value", "low", "high")},
            "n": each["n"],
        }
        for model, figures in models.items()
        for name, each in {**figures["sets"], "sentiment": figures["sentiment"]}.items()
        for figure, entry in each.items()
        if isinstance(entry, Mapping) and "value" in entry
    ]


def retention_rows(tables: Mapping[str, Retention]) -> Rows:
    """Return a row for each model and figure: the share kept of the dense model's, with its interval."""
    return [
        {"series": model, "name": figure, **ends(entry)}
        for model, table in tables.items()
        for figure, entry in retentions(table)
    ]


def calibration_rows(models: Mapping[str, ModelFigures]) -> Rows:
    """Return a row for each model, question set and bin of confidence that holds an answer."""
    return [
        {
            "panel": name,
            "series": model,
            "confidence": each["confidence"],
            "accuracy": each["accuracy"],
            "count": each["count"],
        }
        for model, figures in models.items()
        for name, answers in figures["sets"].items()
        for each in answers["reliability"]
        if each["count"]
    ]


def eavss_rows(localization: Localization) -> Rows:
    """Return a row for each reading of EAVSS and layer, of all answers, with its 95 % interval."""
    return [
        {
            "panel": reading,
            "series": "all answers",
            "layer": layer,
            "value": value,
            "low": band["low"][layer],
            "high": band["high"][layer],
        }
        for reading, band in sorted(localization["readings"].items())
        for layer, value in enumerate(band["values"])
    ]


def loss_rows(trainings: Mapping[str, HealingTraining | MitigationTraining]) -> Rows:
    """Return a row for each training and step: the loss on its batch, or on the validation rows."""
    rows: Rows = []
    for name, training in trainings.items():
        tokens = list(accumulate(step["tokens"] for step in training["steps"]))
        rows += [
            {"series": f"{name}, train", "step": number, "tokens": tokens[number - 1], "loss": step["loss"]}
            for number, step in enumerate(training["steps"], start=1)
        ]
        rows += [
            {
                "series": f"{name}, validation",
                "step": each["step"],
                "tokens": tokens[each["step"] - 1],
                "loss": each["validation_loss"],
            }
            for each in training["history"]
        ]
    return rows


TABLES: Mapping[str, tuple[str, ...]] = {
    "figures": ("model", "set", "figure", "value", "low", "high", "n"),
    "scores": ("series", "layer", "score", "share", "removed"),
    "removal": ("name", "value", "low", "high", "layers"),
    "retention": ("series", "name", "value", "low", "high"),
    "calibration": ("panel", "series", "confidence", "accuracy", "count"),
    "eavss": ("panel", "series", "layer", "value", "low", "high"),
    "healing": ("series", "step", "tokens", "loss"),
    "training": ("series", "step", "tokens", "loss"),
}
"""The columns of each file; dvc.yaml declares their plots."""


def result_tables(records: RunRecords) -> dict[str, Rows]:
    """Return the rows of each of `TABLES` from the records of a run; what was switched off has none."""
    healing, mitigation, models = records["healing"], records["mitigation"], variants(records)
    controls = sorted(mitigation["controls"].items())
    trainings = {"mitigated": mitigation["training"], **{name: each["training"] for name, each in controls}}
    return {
        "figures": [
            *figure_rows(models | {name: each["figures"] for name, each in controls}),
            *standard_rows(task_rows(records)),
        ],
        "scores": score_rows(records["scores"]),
        "removal": removal_rows(records["scores"]),
        "retention": retention_rows(rungs(records)),
        "calibration": calibration_rows(models),
        "eavss": eavss_rows(records["localization"]),
        "healing": loss_rows({"healed": healing["training"]} if healing["enabled"] else {}),
        "training": loss_rows(trainings),
    }


def write_tables(records: RunRecords, folder: Path) -> None:
    """Write each table that has rows as CSV: equal records give equal bytes."""
    for name, rows in result_tables(records).items():
        if rows:  # DVC draws no file without a row
            write_text(folder / f"{name}.csv", csv_text(TABLES[name], rows))


def csv_text(columns: Sequence[str], rows: Sequence[Mapping[str, Any]]) -> str:
    """Return rows as CSV; None is an empty cell."""
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


def _loss(cost: ComparedCost) -> Row:
    """Return a loss with its interval."""
    return {"value": cost["nll"], "low": cost["interval"]["low"], "high": cost["interval"]["high"]}
