"""Plan the mitigation and its controls, and compare what they changed."""

import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypedDict

from prefect import task

from avss_core.metrics.comparison import differences_by_set, differences_to_mean_by_set, mean_with_interval
from avss_core.metrics.retention import retention_table
from avss_core.models.architectures import depth
from avss_core.models.loading import load_config
from avss_core.surgery.numbering import layer_map, own_layers
from avss_core.training.mitigation.controls import agreement_with_training, variants
from tasks.records import Bands, Divergence, Mitigation, MitigationTraining, ModelFigures
from tasks.training.divergence import WindowDivergence

_CROSS_ENTROPY_ALONE = {
    "cross_entropy": 1.0,
    "alpha": 0.0,
    "gamma": 0.0,
    "brier": 0.0,
    "anchor": 0.0,
    "known": 1.0,
}


class Plan(TypedDict):
    """One training; layers are numbered as in the model."""

    layers: list[int]
    like: list[int]
    """Layers whose trained parameters are the budget."""
    settings: dict[str, float]
    """Settings that differ from those of the stage."""


class TrainedVariant(TypedDict):
    """What is known of `mitigated` or a control when it is trained and evaluated."""

    training: MitigationTraining
    machine: dict[str, float | None]
    figures: ModelFigures
    answers: dict[str, Any]
    """Answers and losses, as `avss_core.metrics.retention` takes them."""
    divergence: WindowDivergence


@task(name="plan-trainings")
def plan_trainings(
    model: Path, most_prone: Sequence[int], *, layers: int, controls: Sequence[str], draws: int, seed: int
) -> dict[str, Plan]:
    """Return the plan of `mitigated` and of each control.

    Args:
        model: checkpoint folder to train.
        most_prone: layers of the dense model, most prone first; those that the model lost are skipped.
        layers: number of layers to train.
        controls: keys of `avss_core.training.mitigation.controls.CONTROLS`.
        draws: number of random choices of layers.
        seed: seed of the draws.
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
    """Yield a folder for a checkpoint that is only measured, and remove it afterwards."""
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@task(name="compare-trainings")
def compare_trainings(
    before: Mapping[str, Any],
    trained: Mapping[str, TrainedVariant],
    readings: Bands,
    *,
    dense: Mapping[str, Any],
    base: str,
    seed: int,
) -> Mitigation:
    """Return the figures of the mitigation and its controls, each against the base, and against each other.

    Args:
        before: answers of the base by set, as `avss_core.metrics.comparison` takes them.
        trained: `mitigated` and each control.
        readings: EAVSS readings of every layer, with which the gains are compared.
        dense: answers of the dense model, with the losses of its windows of text.
        base: name of the model that was trained.
        seed: seed of the resampling.
    """
    own = trained["mitigated"]
    others = {name: each for name, each in trained.items() if name != "mitigated"}
    size = len(own["training"]["layers"])
    alike = [  # trainings with the same loss and number of layers, which differ in the choice of layers only
        name
        for name, each in trained.items()
        if name != "cross_entropy" and len(each["training"]["layers"]) == size
    ]
    kinds = {name: "random" if name.startswith("random_") else name for name in others}
    return {
        "base": base,
        "training": own["training"],
        "mitigated": own["figures"],
        "mitigated_against_base": differences_by_set(before["sets"], own["answers"]["sets"], seed),
        "retention": retention_table(dense, own["answers"], seed=seed),
        "divergence": _moved(own, seed),
        "controls": {
            name: {
                "training": each["training"],
                "figures": each["figures"],
                "against_base": differences_by_set(before["sets"], each["answers"]["sets"], seed),
                "divergence": _moved(each, seed),
            }
            for name, each in others.items()
        },
        "against_controls": {
            kind: differences_to_mean_by_set(
                [each["answers"]["sets"] for name, each in others.items() if kinds[name] == kind],
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


def _moved(variant: TrainedVariant, seed: int) -> Divergence:
    """Return the divergence from the base with its interval over windows, in nats a token."""
    moved = variant["divergence"]
    return {"tokens": moved["tokens"], **mean_with_interval(moved["window_means"], seed)}
