"""Score, prune and mend the layers of transformer language models.

The measures of answers are at hand here: `from avss_core import accuracy_at, coverage_at, ece, brier`.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
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
    from avss_core.litcab import acc_at_litcab, cov_at_litcab, ece_litcab
    from avss_core.summary import summarise

__all__ = [
    "acc_at_litcab",
    "accuracy_at",
    "accuracy_coverage_curve",
    "auroc",
    "bootstrap_interval",
    "brier",
    "brier_skill",
    "cov_at_litcab",
    "coverage_at",
    "ece",
    "ece_litcab",
    "reliability",
    "summarise",
]

_HOMES = {
    "bootstrap_interval": "bootstrap",
    "acc_at_litcab": "litcab",
    "cov_at_litcab": "litcab",
    "ece_litcab": "litcab",
    "summarise": "summary",
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
