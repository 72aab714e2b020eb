"""Controls of the mitigation: what else could have been trained, on the same data at the same size."""

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
    """One training: which layers, and whether the contrastive terms count."""

    layers: tuple[int, ...]
    contrastive: bool = True


def variants(
    ranked: Sequence[int], count: int, kinds: Iterable[str], *, draws: int, seed: int
) -> dict[str, Variant]:
    """Return what the mitigation and its controls train, `mitigated` first.

    A control that would train what the mitigation trains is left out. Random draws are of all layers, the
    prone ones among them, and differ from one another where there are enough layers.

    Args:
        ranked: all layers of the model, most prone first.
        count: how many of them are trained.
        kinds: keys of `CONTROLS`.
        draws: how often layers are drawn at random; they are called random_1, random_2, ...
        seed: of the draws.

    Raises:
        ValueError: there is no layer, or a control is unknown.
    """
    kinds = list(kinds)
    strange = sorted(set(kinds) - CONTROLS.keys())
    if strange or not ranked or count < 1:
        raise ValueError(
            f"{count} of {len(ranked)} layers with the controls {', '.join(kinds) or 'none'}: expected at "
            f"least one layer, and controls of {', '.join(CONTROLS)}"
        )
    chosen = tuple(sorted(ranked[:count]))
    found = {"mitigated": Variant(chosen)}
    wanted: dict[str, Variant] = {}
    if "cross_entropy" in kinds:
        wanted["cross_entropy"] = Variant(chosen, contrastive=False)
    if "random" in kinds:
        wanted |= {
            f"random_{place}": Variant(layers)
            for place, layers in enumerate(_drawn(sorted(ranked), len(chosen), draws, seed, chosen), 1)
        }
    if "lowest" in kinds:
        wanted["lowest"] = Variant(tuple(sorted(ranked[-len(chosen) :])))
    if "all" in kinds:
        wanted["all"] = Variant(tuple(sorted(ranked)))
    return found | {name: variant for name, variant in wanted.items() if variant != found["mitigated"]}


def agreement_with_training(
    readings: Mapping[str, Sequence[float]], layers: Mapping[str, Sequence[int]], gains: Mapping[str, float]
) -> dict[str, float | None]:
    """Return, for each reading, Kendall's tau between what it says of trained layers and what they gained.

    Our reading: a reading that finds the layers worth training gives a high mean to the sets of layers whose
    training gained much. With a handful of trainings this is a hint, not a proof.

    Args:
        readings: for each reading its value at each layer of the dense model.
        layers: for each training the layers, numbered as in the dense model.
        gains: for each training what it gained, higher is better.

    Returns:
        Between -1 and 1, None where there are fewer than three trainings or a side is constant.
    """
    names = sorted(layers)
    if len(names) < 3:
        return dict.fromkeys(readings)
    gained = [gains[name] for name in names]
    said = {
        reading: [sum(values[layer] for layer in layers[name]) / len(layers[name]) for name in names]
        for reading, values in readings.items()
    }
    return {reading: kendall_tau(values, gained) for reading, values in said.items()}


def _drawn(
    layers: Sequence[int], count: int, draws: int, seed: int, chosen: tuple[int, ...]
) -> list[tuple[int, ...]]:
    """Return distinct random choices of layers other than the chosen ones, fewer where there are no more."""
    generator, found, tries = random.Random(seed), dict[tuple[int, ...], None](), 0
    while len(found) < draws and tries < 100 * draws:
        drawn = tuple(sorted(generator.sample(layers, count)))
        tries += 1
        if drawn != chosen:
            found[drawn] = None
    return list(found)
