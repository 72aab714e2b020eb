"""The numbers of a checkpoint's layers: its own, and those in the dense model."""

from collections.abc import Sequence
from pathlib import Path

from avss_core.files.writing import read_json
from avss_core.models.layers import check_layers

CERTIFICATE = "certificate.json"
"""File of a checkpoint that holds, among other things, the dense model's number of each layer."""


def layer_map(folder: Path, layers: int) -> list[int]:
    """Return the old number of each layer of a checkpoint; the identity if it was never pruned."""
    path = folder / CERTIFICATE
    return [int(layer) for layer in read_json(path)["layer_map"]] if path.is_file() else list(range(layers))


def own_layers(layers: Sequence[int], numbers: Sequence[int]) -> list[int]:
    """Return the checkpoint's own numbers of some layers of the dense model, without those that are gone.

    Args:
        layers: numbered as in the dense model; the order is kept.
        numbers: the result of `layer_map`.

    Raises:
        ValueError: none of them is left.

    Example:
        >>> own_layers([5, 1, 2], [0, 2, 3, 5])  # layer 1 of the dense model is gone
        [3, 1]
    """
    own = [numbers.index(layer) for layer in layers if layer in numbers]
    if not own:
        raise ValueError(f"none of the layers {list(layers)} of the dense model is left in the checkpoint")
    return own


def check_own_layers(removed: Sequence[int], numbers: Sequence[int]) -> list[int]:
    """Return the numbers of layers to remove, checked and in depth order.

    Args:
        removed: the checkpoint's own numbers.
        numbers: the result of `layer_map`.

    Raises:
        ValueError: the numbers do not fit; explains them if the checkpoint was pruned before.
    """
    try:
        return check_layers(removed, len(numbers))
    except ValueError as error:
        if list(numbers) == list(range(len(numbers))):
            raise
        raise ValueError(
            f"{error}. The checkpoint was pruned before: its layers 0 to {len(numbers) - 1} were "
            f"{', '.join(map(str, numbers))} in the dense model, the others are gone. Name layers by their "
            "number in the checkpoint"
        ) from error
