"""Controls of the mitigation: other layers or another loss, on the same data with as many parameters."""

import random
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from avss_core.registry import CONTROL_NAMES, require_declared
from avss_core.scores.ranking import kendall_tau

CONTROLS: Mapping[str, str] = {
    "cross_entropy": "the same layers, taught the accepted answers alone",
    "random": "as many layers drawn at random",
    "lowest": "the least prone layers",
    "all": "all layers, at a lower rank",
}
"""What each control trains; all but the first have the loss of the mitigation."""

require_declared(CONTROLS, CONTROL_NAMES, "CONTROLS")


@dataclass(frozen=True)
class Variant:
    """The layers of one training, and whether its loss has the contrastive terms."""

    layers: tuple[int, ...]
    contrastive: bool = True


def variants(
    ranked: Sequence[int], count: int, kinds: Iterable[str], *, draws: int, seed: int
) -> dict[str, Variant]:
    """Return the mitigation and its controls by name, `mitigated` first.

    A control equal to the mitigation is left out. Random choices are drawn from all layers, prone ones
    included, and differ from one another if there are enough layers.

    Args:
        ranked: all layers of the model, most prone first.
        count: number of layers to train.
        kinds: keys of `CONTROLS`.
        draws: number of random choices, named random_1, random_2, ...
        seed: seed of the draws.

    Raises:
        ValueError: there is no layer, or a control is unknown.
    """
    kinds = list(kinds)
    if not set(kinds) <= CONTROLS.keys() or not ranked or count < 1:
        raise ValueError(
            f"{count} of {len(ranked)} layers with the controls {', '.join(kinds) or 'none'}: expected at "
            f"least one layer, and controls of {', '.join(CONTROLS)}"
        )
    chosen = tuple(sorted(ranked[:count]))
    mitigated = Variant(chosen)
    controls: dict[str, Variant] = {}
    if "cross_entropy" in kinds:
        controls["cross_entropy"] = Variant(chosen, contrastive=False)
    if "random" in kinds:
        drawn = _random_choices(sorted(ranked), chosen, draws, seed)
        controls |= {f"random_{place}": Variant(layers) for place, layers in enumerate(drawn, 1)}
    if "lowest" in kinds:
        controls["lowest"] = Variant(tuple(sorted(ranked[-len(chosen) :])))
    if "all" in kinds:
        controls["all"] = Variant(tuple(sorted(ranked)))
    differing = {name: variant for name, variant in controls.items() if variant != mitigated}
    return {"mitigated": mitigated} | differing


def agreement_with_training(
    readings: Mapping[str, Sequence[float]], layers: Mapping[str, Sequence[int]], gains: Mapping[str, float]
) -> dict[str, float | None]:
    """Return for each reading Kendall's tau between its mean over trained layers and the training's gain.

    Our reading: a reading that finds the layers worth training is high where training gained much. With a
    handful of trainings this is a hint, not a proof.

    Args:
        readings: for each reading its value at each layer of the dense model.
        layers: for each training its layers, numbered as in the dense model.
        gains: for each training its gain, higher is better.

    Returns:
        Between -1 and 1; None if there are fewer than three trainings or a side is constant.
    """
    names = sorted(layers)
    if len(names) < 3:
        return dict.fromkeys(readings)
    gained = [gains[name] for name in names]
    means = {
        reading: [sum(values[layer] for layer in layers[name]) / len(layers[name]) for name in names]
        for reading, values in readings.items()
    }
    return {reading: kendall_tau(values, gained) for reading, values in means.items()}


def _random_choices(
    layers: Sequence[int], chosen: tuple[int, ...], draws: int, seed: int
) -> list[tuple[int, ...]]:
    """Return distinct random choices of as many layers as `chosen`, not `chosen` itself; fewer if need be."""
    generator = random.Random(seed)
    choices: list[tuple[int, ...]] = []
    for _ in range(100 * draws):
        if len(choices) == draws:
            break
        drawn = tuple(sorted(generator.sample(layers, len(chosen))))
        if drawn not in (chosen, *choices):
            choices.append(drawn)
    return choices
