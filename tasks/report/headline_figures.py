"""The dozen figures of a run that tables of many runs show: `dvc exp show`, and the parent run in MLflow."""

from collections.abc import Mapping
from typing import Any

FIGURES = {
    "layers_removed": "layers removed",
    "parameters_kept": "share of the dense model's parameters",
    "kept_answers": "share kept of right answers, mean of the sets",
    "kept_preference": "share kept of the preference for accepted answers",
    "kept_gold_loss": "share kept of the loss of accepted answers",
    "kept_sentiment": "share kept of the accuracy on sentiment",
    "kept_text": "share kept of the loss on text",
    "pruned_kept_answers": "share kept of right answers before repair and healing",
    "pruned_kept_text": "share kept of the loss on text before repair and healing",
    "mitigated_kept_answers": "share kept of right answers by the model with trained layers",
    "perplexity": "perplexity on text",
    "dense_perplexity": "perplexity of the dense model on text",
}
"""What each means; `kept_*` and `perplexity` are of the last model: healed, else repaired, else pruned."""


def headline_figures(summary: Mapping[str, Any]) -> dict[str, float]:
    """Return the headline figures of a summary; a figure without a value is left out."""
    kept, layers, sizes = summary["kept"], summary["layers"], summary["parameters"]
    last = next(name for name in ("healed", "repaired", "pruned") if name in kept)
    values = {
        "layers_removed": layers["dense"] - layers["pruned"],
        "parameters_kept": sizes[last] / sizes["dense"],
        "kept_answers": kept[last].get("generation"),
        "kept_preference": kept[last].get("preference"),
        "kept_gold_loss": kept[last].get("gold_loss"),
        "kept_sentiment": kept[last].get("sentiment"),
        "kept_text": kept[last].get("nll"),
        "pruned_kept_answers": kept["pruned"].get("generation"),
        "pruned_kept_text": kept["pruned"].get("nll"),
        "mitigated_kept_answers": kept.get("mitigated", {}).get("generation"),
        "perplexity": summary["text"][last],
        "dense_perplexity": summary["text"]["dense"],
    }
    return {name: value for name, value in values.items() if value is not None}


def headline_table(figures: Mapping[str, float]) -> str:
    """Return headline figures as a table in Markdown."""
    rows = [f"| {FIGURES[name]} | {value:.4g} |" for name, value in figures.items()]
    return "\n".join(["| figure | value |", "| --- | --- |", *rows])
