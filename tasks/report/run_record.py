"""What two runs are compared by: one JSON record of a run, made from the records of its stages."""

import importlib.metadata
import platform
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from tasks.data.lineage import ALL, data_parts
from tasks.report.words.wording import NAMES, retentions, setting_text

FILE = "run.json"
"""Name of the record in the folder of reports, and in MLflow."""

LIBRARIES = ("avss", "torch", "transformers", "numpy", "scipy", "scikit-learn")
"""Whose versions stand in the record, beside that of Python."""

_MODEL = ("name", "revision", "type", "layers", "dtype", "parameters", "bytes", "weights")
_TEXT = ("nll", "tokens", "window", "stride", "window_means", "token_perplexity", "word_perplexity")
_TRAINING = ("dense_layers", "rank", "parameters", "train_pairs", "best_loss")

Record = dict[str, Any]


def run_record(found: Mapping[str, Any], parts: Mapping[str, Any]) -> Record:
    """Return all that two runs are compared by.

    Args:
        found: the records of the stages, by the names of `tasks.render.write_report`: manifest, card, scores,
            pruned, sizes, evaluation (with `healed` where something was healed), healing, localization,
            mitigation, and parameters.
        parts: digest and count of each part of the data, such as nq/test; see `parts_of`.

    Returns:
        model, data, parameters (as text), choice, scores, models (by variant: sets, text, sentiment),
        retention (by variant and figure), eavss, mitigation, sizes.
    """
    scores, evaluation, mitigation = found["scores"], found["evaluation"], found["mitigation"]
    provenance, healing = found["pruned"]["provenance"], found["healing"]
    kept = {"pruned": evaluation["retention"]}
    if healing["enabled"]:
        kept["healed"] = healing["retention"]["after"]
    variants = {name: evaluation[name] for name in ("dense", "pruned", "healed") if name in evaluation}
    variants["mitigated"] = mitigation["mitigated"]
    return {
        "model": {key: found["card"].get(key) for key in _MODEL},
        "data": {
            "digest": found["manifest"]["digest"],
            "origin": found["manifest"]["origin"],
            "parts": dict(parts),
        },
        "parameters": {name: setting_text(value) for name, value in found["parameters"].items()},
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
        "models": {name: _model(figures) for name, figures in variants.items()},
        "retention": {
            name: {figure: _entry(entry) for figure, entry in retentions(table)}
            for name, table in kept.items()
        },
        "eavss": _eavss(found["localization"]),
        "mitigation": {
            "base": mitigation["base"],
            "controls": sorted(mitigation["controls"]),
            "divergence": _entry(mitigation["divergence"]),
            **{key: mitigation["training"].get(key) for key in _TRAINING},
        },
        "sizes": {name: dict(size) for name, size in found["sizes"].items()},
    }  # fmt: skip


def parts_of(prepared: Path) -> dict[str, Any]:
    """Return digest and count of each part of prepared data, such as nq/test, as MLflow keeps them."""
    return {
        part.name: {"digest": part.digest[:36], "count": part.count} for part in data_parts(prepared, ALL)
    }


def versions(names: Iterable[str] = LIBRARIES) -> dict[str, str | None]:
    """Return the versions of Python and of packages, None of one that is not installed."""
    found: dict[str, str | None] = {"python": platform.python_version()}
    for name in names:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            found[name] = None
    return found


def _model(figures: Mapping[str, Any]) -> Record:
    """Return what is compared of one model."""
    text, feeling = figures["language_modelling"], figures["sentiment"]
    return {
        "sets": {
            name: {"n": each["n"], "judge": each["judge"]} | {key: _entry(each[key]) for key in NAMES}
            for name, each in figures["sets"].items()
        },
        "text": {key: text.get(key) for key in _TEXT}
        | {"value": text["nll"], "low": text["window_mean"]["low"], "high": text["window_mean"]["high"]},
        "sentiment": {"n": feeling["n"], "accuracy": _entry(feeling["accuracy"])},
    }


def _eavss(localization: Mapping[str, Any]) -> Record:
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


def _cost(cost: Mapping[str, Any]) -> Record:
    """Return a loss with its interval and its windows."""
    ends = cost["interval"]
    return {
        "value": cost["nll"],
        "low": ends["low"],
        "high": ends["high"],
        "tokens": cost["tokens"],
        "window_means": cost["window_means"],
    }


def _entry(entry: Mapping[str, Any]) -> Record:
    """Return a figure with its interval."""
    return {key: entry[key] for key in ("value", "low", "high")}
