"""Score, prune and mend the layers of transformer language models.

What most programs need is at hand here, such as `from avss_core import load_model, score_layers`;
`docs/library.md` shows it at work. The rest is in the modules. Nothing prints, and nothing is kept between
calls.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from avss_core.batches import token_stream
    from avss_core.bootstrap import bootstrap_interval
    from avss_core.calibration import (
        accuracy_at,
        accuracy_coverage_curve,
        auroc,
        brier,
        brier_skill,
        coverage_at,
        ece,
        reliability,
    )
    from avss_core.certificate import verify
    from avss_core.layer_scores import LayerScores, score_layers
    from avss_core.litcab import acc_at_litcab, cov_at_litcab, ece_litcab
    from avss_core.models import load_model, load_tokenizer
    from avss_core.perplexity import language_modelling
    from avss_core.prone_layers import ProneLayers, find_prone_layers
    from avss_core.pruned_checkpoints import save_pruned
    from avss_core.pruning import choose_layers, prune
    from avss_core.summary import summarise

__all__ = [
    "LayerScores",
    "ProneLayers",
    "acc_at_litcab",
    "accuracy_at",
    "accuracy_coverage_curve",
    "auroc",
    "bootstrap_interval",
    "brier",
    "brier_skill",
    "choose_layers",
    "cov_at_litcab",
    "coverage_at",
    "ece",
    "ece_litcab",
    "find_prone_layers",
    "language_modelling",
    "load_model",
    "load_tokenizer",
    "prune",
    "reliability",
    "save_pruned",
    "score_layers",
    "summarise",
    "token_stream",
    "verify",
]

_HOMES = {
    "LayerScores": "layer_scores",
    "ProneLayers": "prone_layers",
    "acc_at_litcab": "litcab",
    "bootstrap_interval": "bootstrap",
    "choose_layers": "pruning",
    "cov_at_litcab": "litcab",
    "ece_litcab": "litcab",
    "find_prone_layers": "prone_layers",
    "language_modelling": "perplexity",
    "load_model": "models",
    "load_tokenizer": "models",
    "prune": "pruning",
    "save_pruned": "pruned_checkpoints",
    "score_layers": "layer_scores",
    "summarise": "summary",
    "token_stream": "batches",
    "verify": "certificate",
}
"""Modules of the names that are not in `calibration`."""


def __getattr__(name: str) -> Any:
    """Return a name of `__all__`; its module, and torch with it, loads when it is first asked for.

    Raises:
        AttributeError: the package has no such name.
    """
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"avss_core.{_HOMES.get(name, 'calibration')}"), name)


def __dir__() -> list[str]:
    """Return the names of the package, those too that load when they are asked for."""
    return sorted({*globals(), *__all__})
