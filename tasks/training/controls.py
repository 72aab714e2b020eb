"""Plan the mitigation and its controls, and compare what they changed."""

import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from prefect import task

from avss_core.metrics.comparison import differences_by_set, differences_to_mean_by_set, mean_with_interval
from avss_core.models.architectures import depth
from avss_core.models.loading import load_config
from avss_core.surgery.numbering import layer_map, own_layers
from avss_core.training.controls import agreement_with_training, variants

_CROSS_ENTROPY_ALONE = {"cross_entropy": 1.0, "alpha": 0.0, "gamma": 0.0}


@task(name="plan-trainings")
def plan_trainings(
    model: Path, most_prone: Sequence[int], *, layers: int, controls: Sequence[str], draws: int, seed: int
) -> dict[str, dict[str, Any]]:
    """Return, for `mitigated` and each control, its layers, the settings that differ, and what sizes it.

    All numbers of layers are the model's own; `like` are the layers whose trained parameters are the budget.

    Args:
        model: checkpoint folder that is trained.
        most_prone: layers of the dense model, most prone first; those that the model lost are passed over.
        layers: how many are trained.
        controls: of `avss_core.training.controls.CONTROLS`.
        draws: random choices of layers.
        seed: of the draws.
    """
    numbers = layer_map(model, depth(load_config(str(model))))
    ranked = own_layers(most_prone, numbers)
    planned = variants(ranked, layers, controls, draws=draws, seed=seed)
    return {
        name: {
            "layers": list(variant.layers),
            "like": list(planned["mitigated"].layers),
            "settings": {} if variant.contrastive else dict(_CROSS_ENTROPY_ALONE),
        }
        for name, variant in planned.items()
    }


@contextmanager
def discarded(folder: Path) -> Iterator[Path]:
    """Yield a folder for a checkpoint that only has to be measured, and remove it afterwards."""
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@task(name="compare-trainings")
def compare_trainings(
    before: Mapping[str, Any],
    trained: Mapping[str, Mapping[str, Any]],
    readings: Mapping[str, Mapping[str, Any]],
    *,
    base: str,
    seed: int,
) -> dict[str, Any]:
    """Return the figures of the mitigation and its controls, each against the base, and against each other.

    Args:
        before: the base's answers, as `avss_core.metrics.comparison` reads them: `sets` by name.
        trained: for `mitigated` and each control its `training`, `figures`, `answers` and `divergence`.
        readings: EAVSS readings of every layer, with which the gains are compared.
        base: the name of the model that was trained.
        seed: of the resampling.
    """
    own = trained["mitigated"]
    others = {name: found for name, found in trained.items() if name != "mitigated"}
    size = len(own["training"]["layers"])
    alike = [  # trainings that differ in their layers alone: not in the loss, nor in how many layers
        name
        for name, found in trained.items()
        if name != "cross_entropy" and len(found["training"]["layers"]) == size
    ]
    kinds = {name: "random" if name.startswith("random_") else name for name in others}
    return {
        "base": base,
        "training": own["training"],
        "mitigated": own["figures"],
        "mitigated_against_base": differences_by_set(before["sets"], own["answers"]["sets"], seed),
        "divergence": _moved(own, seed),
        "controls": {
            name: {
                "training": found["training"],
                "figures": found["figures"],
                "against_base": differences_by_set(before["sets"], found["answers"]["sets"], seed),
                "divergence": _moved(found, seed),
            }
            for name, found in others.items()
        },
        "against_controls": {
            kind: differences_to_mean_by_set(
                [found["answers"]["sets"] for name, found in others.items() if kinds[name] == kind],
                own["answers"]["sets"],
                seed,
            )
            for kind in dict.fromkeys(kinds.values())
        },
        "localization_against_training": {
            "trainings": alike,
            "tau": agreement_with_training(
                {name: reading["values"] for name, reading in readings.items()},
                {name: trained[name]["training"]["dense_layers"] for name in alike},
                {name: -trained[name]["training"]["best_loss"] for name in alike},
            ),
        },
    }


def _moved(found: Mapping[str, Any], seed: int) -> dict[str, Any]:
    """Return the divergence from the base with its interval over windows, in nats a token."""
    moved = found["divergence"]
    return {"tokens": moved["tokens"], **mean_with_interval(moved["window_means"], seed)}
