"""Which point of a sweep answers a question: small enough, or with a loss low enough."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from avss_core.sweep.sweep_records import SweepPoint


@dataclass(frozen=True)
class Targets:
    """What a pruned model must be; None for what is not asked."""

    parameters: float | int | None = None
    """At most."""
    bytes: float | int | None = None
    """Of all weights, at most."""
    loss: float | int | None = None
    """Nats a token on the held-out text, at most."""

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            if value is not None and not (math.isfinite(value) and value > 0):
                raise ValueError(f"the target of {name} is {value}: expected a finite number above 0")

    @property
    def of_size(self) -> bool:
        """Tell whether a size is asked for."""
        return self.parameters is not None or self.bytes is not None

    @property
    def asked(self) -> bool:
        """Tell whether anything is asked for."""
        return self.of_size or self.loss is not None

    def fits(self, parameters: int, size: int) -> bool:
        """Tell whether a model is small enough."""
        return not (
            (self.parameters is not None and parameters > self.parameters)
            or (self.bytes is not None and size > self.bytes)
        )


@dataclass(frozen=True)
class Sizes:
    """Parameters and bytes of a model and of each of its layers."""

    parameters: int
    bytes: int
    layer_parameters: Sequence[int]
    layer_bytes: Sequence[int]

    def without(self, removed: Sequence[int]) -> tuple[int, int]:
        """Return the parameters and bytes that are left without some layers.

        Example:
            >>> Sizes(100, 400, [10, 20], [40, 80]).without([1])
            (80, 320)
        """
        return (
            self.parameters - sum(self.layer_parameters[layer] for layer in removed),
            self.bytes - sum(self.layer_bytes[layer] for layer in removed),
        )


def count_for_size(order: Sequence[int], sizes: Sizes, targets: Targets) -> int:
    """Return how many layers must go, in an order, until the model is small enough.

    Args:
        order: layers that may go, the first one first.
        sizes: of the dense model.
        targets: with a size.

    Raises:
        ValueError: the model is small enough as it is, or is too large without all of these layers.
    """
    if targets.fits(sizes.parameters, sizes.bytes):
        raise ValueError(
            f"the model is small enough as it is: {sizes.parameters:,} parameters, {sizes.bytes:,} bytes; "
            "give a smaller target"
        )
    for count in range(1, len(order) + 1):
        if targets.fits(*sizes.without(order[:count])):
            return count
    parameters, size = sizes.without(order)
    raise ValueError(
        f"no choice of layers is small enough: without the {len(order)} layers that may go the model has "
        f"{parameters:,} parameters, {size:,} bytes; give a target of at least that"
    )


def answer(points: Sequence[SweepPoint], targets: Targets) -> SweepPoint:
    """Return the smallest choice that meets the targets.

    With a size it is the one that removes the fewest layers, with a loss alone the one that leaves the fewest
    parameters; among equals the one with the lowest loss.

    Raises:
        ValueError: no point meets them; names the nearest: the lowest loss among those that are small enough,
            the smallest model where none is.
    """
    small = [point for point in points if targets.fits(point["parameters"], point["bytes"])]
    if not small:
        nearest = min(points, key=lambda point: (point["parameters"], point["loss"]))
        raise ValueError(f"no choice of this sweep is small enough; the nearest is {said(nearest)}")
    limit = math.inf if targets.loss is None else targets.loss
    fitting = [point for point in small if point["loss"] <= limit]
    if not fitting:
        nearest = min(small, key=lambda point: (point["loss"], point["parameters"]))
        raise ValueError(f"no choice has a loss of at most {limit:g}; the nearest is {said(nearest)}")
    if targets.of_size:
        return min(fitting, key=lambda point: (point["removed_layers"], point["loss"]))
    return min(fitting, key=lambda point: (point["parameters"], point["loss"]))


def said(point: SweepPoint) -> str:
    """Return a point in words."""
    layers = ", ".join(map(str, point["removed"]))
    return (
        f"{point['score']} without {point['removed_layers']} layers ({layers}), {point['model']}: loss "
        f"{point['loss']:.4f}, {point['parameters']:,} parameters, {point['bytes']:,} bytes"
    )
