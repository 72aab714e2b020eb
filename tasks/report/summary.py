"""The summary of a run: its figures as nested numbers, which DVC and MLflow compare."""

from collections.abc import Mapping
from typing import Any

from avss_core.metrics.records import Changes, Retention
from avss_core.training.history import best_epoch
from tasks.records import Healing, ModelFigures
from tasks.report.activation_figures import PageRecords
from tasks.report.variants import variants
from tasks.report.words.wording import NAMES


def summarise(records: PageRecords) -> dict[str, Any]:
    """Return the run's figures as nested numbers; a figure without a value is left out."""
    scores, mitigation = records["scores"], records["mitigation"]
    models = variants(records)
    sizes = {"dense": records["card"]["parameters"]}
    for name in ("pruned", "healed", "mitigated"):
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
        "layers": {"dense": records["card"]["layers"], "pruned": len(records["pruned"]["layer_map"])},
        "parameters": sizes,
        "retention": {
            "pruned": _retentions(records["evaluation"]["pruned_against_dense"]),
            "mitigated": _retentions(mitigation["mitigated_against_base"]),
        },
        "score": {
            "dense_nll": scores["dense"]["nll"],
            "removal_nll": {name: reading["cost"]["nll"] for name, reading in scores["readings"].items()},
            "same_choice": {name: stable["same"] for name, stable in scores["stability"].items()},
        },
        "sentiment": {name: each["sentiment"]["accuracy"]["value"] for name, each in models.items()},
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


def _retentions(changes: Mapping[str, Changes]) -> dict[str, float | None]:
    """Return the share of accuracy kept on each set."""
    return {name: entries["retention"] for name, entries in changes.items()}


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


def _kept(table: Retention) -> dict[str, float | None]:
    """Return the values of a table of retention; generation is the mean over the sets."""
    sentiment = table["classification"]["sentiment"]
    return {
        "generation": table["generation"]["mean"]["value"],
        "sentiment": sentiment["retention"]["value"],
        "sentiment_over_chance": sentiment["retention_over_chance"]["value"],
        "nll": table["language_modelling"]["nll_retention"]["value"],
    }


def _known(values: dict[str, Any]) -> dict[str, Any]:
    """Return nested values without those that are None."""
    return {
        key: _known(value) if isinstance(value, dict) else value
        for key, value in sorted(values.items())
        if value is not None
    }
