"""The tables of a run as CSV files, which MLflow shows and `dvc plots` draws, from the stages' records.

The columns are the same in every run, whatever its parameters: what varies stands in rows.
"""

import csv
import io
from collections.abc import Mapping, Sequence
from itertools import accumulate
from pathlib import Path
from typing import Any

from avss_core.files.writing import write_text
from tasks.report.words.wording import retentions

Row = dict[str, Any]
Rows = list[Row]


def score_rows(scores: Mapping[str, Any]) -> Rows:
    """Return a row for each score and layer: the score, its share of the sum, and whether the layer goes."""
    return [
        {
            "series": name,
            "layer": layer,
            "score": score,
            "share": found["normalised"][layer],
            "removed": "yes" if layer in found["removed"] else "no",
        }
        for name, found in sorted(scores["readings"].items())
        for layer, score in enumerate(found["scores"])
    ]


def removal_rows(scores: Mapping[str, Any]) -> Rows:
    """Return a row for each score: the loss (nats a token) after removing what it chooses, and the layers."""
    dense = {"name": "dense, nothing removed", **_loss(scores["dense"]), "layers": ""}
    return [dense] + [
        {"name": name, **_loss(found["cost"]), "layers": " ".join(map(str, found["removed"]))}
        for name, found in sorted(scores["readings"].items())
    ]


def figure_rows(models: Mapping[str, Mapping[str, Any]]) -> Rows:
    """Return a row for each model, question set and figure, with its 95 % interval and n."""
    return [
        {"model": model, "set": name, "figure": figure, **_interval(entry), "n": found["n"]}
        for model, figures in models.items()
        for name, found in {**figures["sets"], "sentiment": figures["sentiment"]}.items()
        for figure, entry in found.items()
        if isinstance(entry, Mapping) and "value" in entry
    ]


def retention_rows(tables: Mapping[str, Mapping[str, Any]]) -> Rows:
    """Return a row for each model and figure: the share kept of the dense model's, with its interval."""
    return [
        {"series": model, "name": figure, **_interval(entry)}
        for model, table in tables.items()
        for figure, entry in retentions(table)
    ]


def calibration_rows(models: Mapping[str, Mapping[str, Any]]) -> Rows:
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
        for name, found in figures["sets"].items()
        for each in found["reliability"]
        if each["count"]
    ]


def eavss_rows(localization: Mapping[str, Any]) -> Rows:
    """Return a row for each reading of EAVSS and layer, of all answers, with its 95 % interval."""
    return [
        {
            "panel": reading,
            "series": "all answers",
            "layer": layer,
            "value": value,
            "low": found["low"][layer],
            "high": found["high"][layer],
        }
        for reading, found in sorted(localization["readings"].items())
        for layer, value in enumerate(found["values"])
    ]


def loss_rows(trainings: Mapping[str, Mapping[str, Any]]) -> Rows:
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
"""The columns of each file; dvc.yaml declares the plots of them."""


def result_tables(found: Mapping[str, Any]) -> dict[str, Rows]:
    """Return the rows of each of `TABLES` from the records of a run; what was left out has none."""
    evaluation, healing, mitigation = found["evaluation"], found["healing"], found["mitigation"]
    kept = {"pruned": evaluation["retention"]}
    if healing["enabled"]:
        kept["healed"] = healing["retention"]["after"]
    models = {name: evaluation[name] for name in ("dense", "pruned", "healed") if name in evaluation}
    models |= {"mitigated": mitigation["mitigated"]}
    controls = sorted(mitigation["controls"].items())
    trainings = {"mitigated": mitigation["training"]} | {
        name: control["training"] for name, control in controls
    }
    return {
        "figures": figure_rows(models | {name: control["figures"] for name, control in controls}),
        "scores": score_rows(found["scores"]),
        "removal": removal_rows(found["scores"]),
        "retention": retention_rows(kept),
        "calibration": calibration_rows(models),
        "eavss": eavss_rows(found["localization"]),
        "healing": loss_rows({"healed": healing["training"]} if healing["enabled"] else {}),
        "training": loss_rows(trainings),
    }


def write_tables(found: Mapping[str, Any], folder: Path) -> None:
    """Write each table that has rows as CSV: equal records give equal bytes."""
    for name, rows in result_tables(found).items():
        if not rows:
            continue  # DVC draws no file without a row
        write_text(folder / f"{name}.csv", csv_text(TABLES[name], rows))


def csv_text(columns: Sequence[str], rows: Sequence[Mapping[str, Any]]) -> str:
    """Return rows as CSV; a value that is not known is an empty cell."""
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


def _loss(cost: Mapping[str, Any]) -> Row:
    """Return a loss with its interval."""
    return {"value": cost["nll"], "low": cost["interval"]["low"], "high": cost["interval"]["high"]}


def _interval(entry: Mapping[str, Any]) -> Row:
    """Return a figure with its interval."""
    return {key: entry[key] for key in ("value", "low", "high")}
