"""The small repair after which choices of layers are compared: one penalty, the MLP's projections alone."""

from collections.abc import Sequence

from transformers import PreTrainedModel

from avss_core.models.architectures import depth
from avss_core.models.batches import Batch
from avss_core.models.configuration import kept_layers
from avss_core.models.views import without_layers
from avss_core.progress import Progress, no_progress
from avss_core.surgery.repair.repair import passes, repair

RIDGE = 1.0
"""The one penalty: choosing among several would take ten factorizations a block."""


def repaired_without(
    model: PreTrainedModel,
    removed: Sequence[int],
    batches: Sequence[Batch],
    *,
    progress: Progress = no_progress,
) -> PreTrainedModel:
    """Return a view of a model without some layers, the MLP's output projections of the others refitted.

    Args:
        model: the dense model; stays as it is.
        removed: numbers of the layers, at least one.
        batches: windows to refit on.
        progress: told of each batch's windows, `small_passes` times.

    Raises:
        UnrepairableError: the family cannot be repaired (named).
        ValueError: as `avss_core.surgery.repair.repair.refits`.
    """
    kept = kept_layers(depth(model.config), removed)
    pruned = without_layers(model, removed)
    repaired, _ = repair(pruned, model, kept, batches, ridges=[RIDGE], attention=False, progress=progress)
    return repaired


def small_passes(model: PreTrainedModel, removed: Sequence[int]) -> int:
    """Return how many blocks each window passes, of both models together."""
    layers = depth(model.config)
    return passes(kept_layers(layers, removed), layers, attention=False)
