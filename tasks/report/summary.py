"""The summary of a run: its figures as nested numbers, which DVC and MLflow compare."""

from collections.abc import Mapping
from typing import Any

from avss_core.metrics.records import Changes, Retention
from avss_core.metrics.right_answers import few_right
from avss_core.training.history import best_epoch
from tasks.records import Healing, ModelFigures
from tasks.report.activation_figures import PageRecords
from tasks.report.variants import MEAN, retentions, rungs, set_of, trained_base, variants
from tasks.report.words.wording import NAMES


def summarise(records: PageRecords) -> dict[str, Any]:
    """Return the run's figures as nested numbers; a figure without a value is left out."""
    scores, evaluation, mitigation = records["scores"], records["evaluation"], records["mitigation"]
    models = variants(records)
    sizes = {"dense": records["card"]["parameters"]}
    for name in ("pruned", "repaired", "healed", "mitigated"):
        certificate = records[name]
        if certificate is not None:
            sizes[name] = certificate["parameters"]
    summary = {
        **{name: _sets(figures) for name, figures in models.items()},
        "controls": {
            name: {"divergence": control["divergence"]["value"], "sets": _sets(control["figures"])}
            for name, control in mitigation["controls"].items()
        },
        "divergence": mitigation["divergence"]["value"],
        "healing": _healing(records["healing"]),
        "kept": {
            name: {**_kept(table), "sets": _kept_by_set(table)} for name, table in rungs(records).items()
        },
        "layers": {"dense": records["card"]["layers"], "pruned": len(records["pruned"]["layer_map"])},
        "parameters": sizes,
        "retention": {
            "pruned": _retentions(evaluation["pruned_against_dense"], evaluation["dense"]),
            "repaired": _retentions(evaluation["repaired"]["against_dense"], evaluation["dense"])
            if "repaired" in evaluation
            else None,
            "mitigated": _retentions(mitigation["mitigated_against_base"], trained_base(records)),
        },
        "score": {
            "dense_nll": scores["dense"]["nll"],
            "removal_nll": {name: reading["cost"]["nll"] for name, reading in scores["readings"].items()},
            "repaired_nll": {
                name: reading["repaired"]["nll"]
                for name, reading in scores["readings"].items()
                if "repaired" in reading
            },
            "same_choice": {name: stable["same"] for name, stable in scores["stability"].items()},
        },
        "sentiment": {name: each["sentiment"]["accuracy"]["value"] for name, each in models.items()},
        "sentiment_auroc": {name: each["sentiment"]["auroc"]["value"] for name, each in models.items()},
        "text": {name: each["language_modelling"]["token_perplexity"] for name, each in models.items()},
    }
    return _known(summary)


def _sets(figures: ModelFigures) -> dict[str, dict[str, float | None]]:
    """Return the values of the figures of each question set."""
    return {
        name: {figure: entries[figure]["value"] for figure in NAMES}
        | {"exact_match": entries["exact_match"]["value"]}
        for name, entries in figures["sets"].items()
    }


def _retentions(changes: Mapping[str, Changes], before: ModelFigures) -> dict[str, float | None]:
    """Return the share of accuracy kept on each set, None where too few answers were right before."""
    return {
        name: None
        if few_right(entries["n"], before["sets"][name]["accuracy"]["value"])
        else entries["retention"]
        for name, entries in changes.items()
    }


def _healing(healing: Healing) -> dict[str, Any] | None:
    """Return what healing took and what is kept of the dense model before and after, None without healing."""
    if not healing["enabled"]:
        return None
    training, tables = healing["training"], healing["retention"]
    return {
        "tokens": training["tokens"],
        "validation_loss": best_epoch(training["history"])["validation_loss"],
        "kept": {"before": _kept(tables["before"]), "after": _kept(tables["after"])},
    }


_MEANS = {
    MEAN: "generation",
    f"{MEAN}, preference": "preference",
    f"{MEAN}, gold loss": "gold_loss",
    "sentiment, accuracy": "sentiment",
    "sentiment, over chance": "sentiment_over_chance",
    "language modelling, NLL": "nll",
}
"""Names in the summary of the shares kept that are not of one question set."""


def _kept(table: Retention) -> dict[str, float | None]:
    """Return the shares kept that are not of one set; those of answers are means over sets."""
    return {_MEANS[name]: entry["value"] for name, entry in retentions(table) if name in _MEANS}


def _kept_by_set(table: Retention) -> dict[str, dict[str, float | None]]:
    """Return the share kept of each figure of each question set."""
    sets: dict[str, dict[str, float | None]] = {name: {} for name in table["generation"]["sets"]}
    for name, entry in retentions(table):
        if name not in _MEANS:
            sets[set_of(name)][name.rpartition(", ")[2].replace(" ", "_")] = entry["value"]
    return sets


def _known(values: dict[str, Any]) -> dict[str, Any]:
    """Return nested values without those that are None."""
    return {
        key: _known(value) if isinstance(value, dict) else value
        for key, value in sorted(values.items())
        if value is not None
    }
