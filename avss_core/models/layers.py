"""Numbers of layers, checked against the depth of a model."""

from collections.abc import Sequence


def check_layers(removed: Sequence[int], layers: int) -> list[int]:
    """Return the numbers of layers to remove in depth order.

    Raises:
        ValueError: none or all layers are named, a number is out of range, or one is repeated.
    """
    if not removed:
        raise ValueError("no layer to remove was named")
    if len(known_layers(removed, layers)) == layers:
        raise ValueError(f"cannot remove all {layers} layers: at least one must stay")
    return sorted(removed)


def known_layers(named: Sequence[int], layers: int) -> list[int]:
    """Return layer numbers in depth order, once each.

    Raises:
        ValueError: a number is out of range, or one is repeated.
    """
    for layer in named:
        if not 0 <= layer < layers:
            raise ValueError(f"layer {layer} does not exist: the model has layers 0 to {layers - 1}")
    if len(set(named)) < len(named):
        raise ValueError(f"a layer is named twice in {sorted(named)}")
    return sorted(named)
