"""What `avss heal`, `localize` and `mitigate` run: the tasks of the stages, for one model."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from prefect import flow

from avss_core.models.architectures import depth
from avss_core.models.layers import known_layers
from avss_core.models.loading import load_config
from flows.collect import dump_answers
from flows.evaluate import evaluate_checkpoint
from flows.heal import healing_settings
from flows.localize import localized
from flows.mitigate import training_settings
from flows.prepare import prepare_rows
from flows.running.scratch import checkpoint, scratch
from flows.running.server import served
from flows.running.workspace import Workspace
from flows.settings.params import Params
from tasks.evaluate import compare_variants
from tasks.heal import heal_model
from tasks.mitigate import train_layers
from tasks.training.watched_training import forget


@served
@flow(name="heal-pruned", persist_result=False)
def heal_pruned(params: Params, teacher: str, out: Path, say: Callable[[str], None]) -> dict[str, Any]:
    """Train the pruned model towards the dense one, write the merged checkpoint, and return the record.

    A run that was stopped goes on in a folder beside `out`.
    """
    resume = out.absolute().parent / f".{out.name}.training"
    with scratch() as workspace:
        prepare_rows(params, workspace)
        dense = params.model.model_copy(update={"name": teacher, "revision": None})
        training, machine = heal_model.fn(
            checkpoint(params, workspace),
            checkpoint(params.model_copy(update={"model": dense}), Workspace(workspace.root / "teacher")),
            workspace.prepared,
            params.data.sets,
            folder=out,
            resume=resume,
            provenance={
                "model": params.model.name,
                "revision": params.model.revision,
                "teacher": Path(teacher).name,
            },
            replace=False,
            say=say,
            **healing_settings(params),
        )
    forget(resume)
    return {"model": params.model.name, "teacher": teacher, "out": str(out), "training": training} | machine


def _localized(params: Params, workspace: Workspace, model: Path) -> dict[str, Any]:
    """Return EAVSS of every layer of a model."""
    dump_answers(params, model, workspace.prepared, workspace.activations)
    return localized(params, workspace.activations)


@served
@flow(name="localize-model", persist_result=False)
def localize_model(params: Params) -> dict[str, Any]:
    """Return one row per layer with its EAVSS, interval and probe AUROC, and the layers by proneness."""
    with scratch() as workspace:
        prepare_rows(params, workspace)
        found = _localized(params, workspace, checkpoint(params, workspace))
    chosen = found["readings"][found["reading"]]
    rows = zip(chosen["values"], chosen["low"], chosen["high"], found["probe_auroc"], strict=True)
    return {
        "model": params.model.name,
        **{key: found[key] for key in ("reading", "reference", "site", "answers", "questions", "pairs")},
        **{key: found[key] for key in ("most_prone", "source_agreement")},
        "layers": [
            {"layer": layer, "score": value, "low": low, "high": high, "probe_auroc": auroc}
            for layer, (value, low, high, auroc) in enumerate(rows)
        ],
    }


@served
@flow(name="mitigate-model", persist_result=False)
def mitigate_model(
    params: Params, out: Path, layers: Sequence[int] | None, say: Callable[[str], None]
) -> dict[str, Any]:
    """Train the given or the most prone layers, write the merged checkpoint, and compare before and after."""
    with scratch() as workspace:
        prepare_rows(params, workspace)
        model = checkpoint(params, workspace)
        chosen = None if layers is None else _own_layers(model, layers)
        # Before the training, so that an evaluation that cannot work costs no training.
        before, before_answers = evaluate_checkpoint(params, workspace.prepared, model)
        if chosen is None:
            most_prone = _localized(params, workspace, model)["most_prone"]
            chosen = sorted(most_prone[: params.mitigate.layers])
        training, _ = train_layers.fn(
            model,
            workspace.prepared,
            params.data.sets,
            chosen,
            **params.machine,
            pairs=params.mitigate.pairs,
            settings=training_settings(params),
            folder=out,
            provenance={"model": params.model.name, "revision": params.model.revision},
            replace=False,
            resume=workspace.training / "mitigate",
            say=say,
        )
        after, after_answers = evaluate_checkpoint(params, workspace.prepared, out)
    return {
        "model": params.model.name,
        "out": str(out),
        "training": training,
        "before": before,
        "after": after,
        "difference": compare_variants(before_answers, after_answers, seed=params.seed),
    }


def _own_layers(model: Path, layers: Sequence[int]) -> list[int]:
    """Return layers of a checkpoint, numbered as it numbers them, in depth order.

    Raises:
        ValueError: the model has no such layer, or one is named twice.
    """
    return known_layers(layers, depth(load_config(str(model))))
