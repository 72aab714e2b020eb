"""The record that two runs are compared by, made from the records of a run's stages."""

import importlib.metadata
import platform
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from avss_core.data.lineage import ALL, data_parts
from tasks.records import ComparedCost, ComparedRecords, Localization, ModelFigures
from tasks.report.variants import ends, kept_tables, retentions, variants
from tasks.report.words.wording import NAMES, setting_text

FILE = "run.json"
"""Name of the record in the folder of reports and in MLflow."""

LIBRARIES = ("avss", "torch", "transformers", "numpy", "scipy", "scikit-learn")
"""Packages with a version in the record, beside Python."""

_MODEL = ("name", "revision", "type", "layers", "dtype", "parameters", "bytes", "weights")
_TEXT = ("nll", "tokens", "window", "stride", "window_means", "token_perplexity", "word_perplexity")
_TRAINING = ("dense_layers", "rank", "parameters", "train_pairs", "best_loss")

Record = dict[str, Any]


def run_record(records: ComparedRecords, parts: Mapping[str, Any]) -> Record:
    """Return all that two runs are compared by.

    Args:
        records: the records of the stages.
        parts: digest and count of each part of the data, such as nq/test; see `parts_of`.

    Returns:
        model, data, parameters (as text), choice, scores, models (by variant: sets, text, sentiment),
        retention (by variant and figure), eavss, mitigation, sizes.
    """
    scores, mitigation, provenance = records["scores"], records["mitigation"], records["pruned"]["provenance"]
    return {
        "model": {key: records["card"].get(key) for key in _MODEL},
        "data": {
            "digest": records["manifest"]["digest"],
            "origin": records["manifest"]["origin"],
            "parts": dict(parts),
        },
        "parameters": {name: setting_text(value) for name, value in records["parameters"].items()},
        "choice": {"score": provenance["score"], "removed": provenance["removed"]},
        "scores": {
            "dense": _cost(scores["dense"]),
            "readings": {
                name: {
                    "scores": reading["scores"],
                    "removed": reading["removed"],
                    "cost": _cost(reading["cost"]),
                }
                for name, reading in scores["readings"].items()
            },
            "same": {name: stable["same"] for name, stable in scores["stability"].items()},
        },
        "models": {name: _model(figures) for name, figures in variants(records).items()},
        "retention": {
            name: {figure: ends(entry) for figure, entry in retentions(table)}
            for name, table in kept_tables(records).items()
        },
        "eavss": _eavss(records["localization"]),
        "mitigation": {
            "base": mitigation["base"],
            "controls": sorted(mitigation["controls"]),
            "divergence": ends(mitigation["divergence"]),
            **{key: mitigation["training"].get(key) for key in _TRAINING},
        },
        "sizes": {name: dict(size) for name, size in records["sizes"].items()},
    }  # fmt: skip


def parts_of(prepared: Path) -> dict[str, Any]:
    """Return digest and count of each part of prepared data, such as nq/test, as MLflow keeps them."""
    return {
        part.name: {"digest": part.digest[:36], "count": part.count} for part in data_parts(prepared, ALL)
    }


def versions(names: Iterable[str] = LIBRARIES) -> dict[str, str | None]:
    """Return the versions of Python and of packages, None for one that is not installed."""
    installed: dict[str, str | None] = {"python": platform.python_version()}
    for name in names:
        try:
            installed[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            installed[name] = None
    return installed


def _model(figures: ModelFigures) -> Record:
    """Return what is compared of one model."""
    text, sentiment = figures["language_modelling"], figures["sentiment"]
    return {
        "sets": {
            name: {"n": each["n"], "judge": each["judge"]} | {key: ends(each[key]) for key in NAMES}
            for name, each in figures["sets"].items()
        },
        "text": {key: text.get(key) for key in _TEXT}
        | {"value": text["nll"], "low": text["window_mean"]["low"], "high": text["window_mean"]["high"]},
        "sentiment": {"n": sentiment["n"], "accuracy": ends(sentiment["accuracy"])},
    }


def _eavss(localization: Localization) -> Record:
    """Return what is compared of the localization."""
    return {
        "reading": localization["reading"],
        "most_prone": localization["most_prone"],
        "pairs": localization["pairs"],
        "questions": localization["questions"],
        "readings": {
            name: {key: reading[key] for key in ("values", "low", "high")}
            for name, reading in localization["readings"].items()
        },
    }


def _cost(cost: ComparedCost) -> Record:
    """Return a loss with its interval and its windows."""
    interval = {"low": cost["interval"]["low"], "high": cost["interval"]["high"]}
    return {"value": cost["nll"], **interval, "tokens": cost["tokens"], "window_means": cost["window_means"]}
