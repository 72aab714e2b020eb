"""What the commands of `avss` run: the same tasks as the stages, for one model in a scratch workspace."""

import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from prefect import flow

from avss_core.architectures import depth
from avss_core.models import has_tokenizer, load_config
from avss_core.pruning import known_layers
from avss_core.scores import SCORES
from flows import ROOT
from flows.collection import collect_text, dump_answers
from flows.evaluation import evaluate_checkpoint
from flows.heal import healing_settings
from flows.localize import localized
from flows.mitigate import training_settings
from flows.params import Params
from flows.prepare import prepare_rows, wanted
from flows.removal import measure_removals, removal_tokens
from flows.score import choice_of
from flows.speed import timed
from flows.workspace import Workspace
from tasks.evaluate import compare_variants
from tasks.heal import heal_model
from tasks.mitigate import train_layers
from tasks.prepare import prepare_model, prepare_text
from tasks.prune import prune_model
from tasks.score import choice_stability, score_layers
from tasks.training import forget


@contextmanager
def _scratch() -> Iterator[Workspace]:
    """Yield a workspace that is gone afterwards."""
    with tempfile.TemporaryDirectory(prefix="avss-") as folder:
        yield Workspace(Path(folder))


def _checkpoint(params: Params, workspace: Workspace) -> Path:
    """Return the folder of the model; one that is not a folder yet becomes one in the workspace."""
    if Path(params.model.name).is_dir():
        return Path(params.model.name).resolve()
    prepare_model(params.model.name, params.model.revision, dtype=params.model.dtype, folder=workspace.dense)
    return workspace.dense


def _scores(params: Params) -> dict[str, Any]:
    """Return the scores of every layer by the chosen reading, from the calibration text.

    Raises:
        FileNotFoundError: the model is a folder without a tokenizer.
    """
    folder = Path(params.model.name)
    if folder.is_dir() and not has_tokenizer(folder):
        raise FileNotFoundError(
            f"{folder} has no tokenizer, so its layers cannot be scored; put one there, or name the layers "
            "for `avss prune` with --layers"
        )
    name, statistics, tokens = params.score.name, None, 0
    needs = SCORES[name].needs
    with _scratch() as workspace:
        origin = prepare_text(
            params.data.source,
            ROOT / params.data.path,
            params.data.sets,
            wanted(params),
            folder=workspace.prepared,
        )
        text = workspace.prepared / "text" / "calibration.json"
        model = _checkpoint(params, workspace)
        if needs == "statistics":
            statistics = collect_text(params, model, text, params.collect.tokens)
            tokens = statistics["tokens"]
        elif needs != "nothing":
            tokens = removal_tokens(params)
        removals = measure_removals(params, model, text, [name])
        layers = depth(load_config(str(model)))
    reading = ("chosen", name, params.seed)
    choice = choice_of(params)
    readings = score_layers(layers, [reading], choice, statistics=statistics, **removals)["readings"]
    stable = choice_stability(
        layers,
        readings,
        choice,
        statistics={"text": statistics} if statistics else {},
        losses=removals["losses"],
        resamples=params.score.resamples,
        seed=params.seed,
    )
    return {"text": origin, "tokens": tokens, **readings["chosen"], "stability": stable.get("chosen")}


@flow(name="score-model", persist_result=False)
def score_model(params: Params) -> dict[str, Any]:
    """Return one row per layer: its score, its share of the sum, the running sum, and whether it would go."""
    found = _scores(params)
    rows = zip(found["scores"], found["normalised"], found["cumulative"], strict=True)
    stable = found["stability"]
    return {
        "model": params.model.name,
        "score": params.score.name,
        "reference": found["reference"],
        "prune_first": "lowest",
        "ratio": params.prune.ratio,
        "removed": found["removed"],
        "text": found["text"],
        "tokens": found["tokens"],
        "same_choice": stable["same"] if stable else None,
        "undecided": list(stable["undecided"]) if stable else None,
        "layers": [
            {
                "layer": layer,
                "score": score,
                "normalised": share,
                "cumulative": running,
                "removed": layer in found["removed"],
                "frequency": stable["frequency"][layer] if stable else None,
                "shot_noise": layer in found["shot_noise"],
            }
            for layer, (score, share, running) in enumerate(rows)
        ],
    }


@flow(name="prune-by-score", persist_result=False)
def prune_by_score(params: Params, out: Path) -> dict[str, Any]:
    """Score the layers, write the checkpoint without the lowest ones, and return its certificate.

    Beside the certificate stand the layers about which other calibration text would choose otherwise.
    """
    found = _scores(params)
    certificate = prune_layers(params, found["removed"], out, score=params.score.name, scores=found["scores"])
    return certificate | {"undecided": list(found["stability"]["undecided"]) if found["stability"] else None}


def prune_layers(
    params: Params,
    removed: Sequence[int],
    out: Path,
    *,
    score: str = "explicit list",
    scores: Sequence[float] = (),
) -> dict[str, Any]:
    """Write the checkpoint without some layers, and return its certificate."""
    certificate: dict[str, Any] = prune_model.fn(
        params.model.name,
        removed,
        revision=params.model.revision,
        dtype=params.model.dtype,
        folder=out,
        provenance={"model": params.model.name, "revision": params.model.revision, "score": score},
        scores=scores,
    )
    return certificate


@flow(name="speed-of-models", persist_result=False)
def speed_of(params: Params, models: Sequence[str]) -> dict[str, Any]:
    """Return tokens a second and peak memory of models, with the ratios to the first."""
    return timed(params, {name: name for name in dict.fromkeys(models)}, params.model.revision)


@flow(name="evaluate-model", persist_result=False)
def evaluate_model(params: Params) -> dict[str, Any]:
    """Return the figures of one model on the question sets, text and reviews."""
    with _scratch() as workspace:
        prepare_rows(params, workspace)
        figures, _ = evaluate_checkpoint(params, workspace.prepared, _checkpoint(params, workspace))
    return {"model": params.model.name, **figures}


def _localized(params: Params, workspace: Workspace, model: Path) -> dict[str, Any]:
    """Return EAVSS of every layer of a model."""
    dump_answers(params, model, workspace.prepared, workspace.activations)
    return localized(params, workspace.activations)


@flow(name="localize-model", persist_result=False)
def localize_model(params: Params) -> dict[str, Any]:
    """Return one row per layer with its EAVSS, interval and probe AUROC, and the layers by proneness."""
    with _scratch() as workspace:
        prepare_rows(params, workspace)
        found = _localized(params, workspace, _checkpoint(params, workspace))
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


@flow(name="mitigate-model", persist_result=False)
def mitigate_model(
    params: Params, out: Path, layers: Sequence[int] | None, say: Callable[[str], None]
) -> dict[str, Any]:
    """Train the given or the most prone layers, write the merged checkpoint, and compare before and after."""
    with _scratch() as workspace:
        prepare_rows(params, workspace)
        model = _checkpoint(params, workspace)
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


@flow(name="heal-pruned", persist_result=False)
def heal_pruned(params: Params, teacher: str, out: Path, say: Callable[[str], None]) -> dict[str, Any]:
    """Train the pruned model towards the dense one, write the merged checkpoint, and return the record.

    A run that was stopped goes on in a folder beside `out`.
    """
    resume = out.absolute().parent / f".{out.name}.training"
    with _scratch() as workspace:
        prepare_rows(params, workspace)
        dense = params.model.model_copy(update={"name": teacher, "revision": None})
        training, machine = heal_model.fn(
            _checkpoint(params, workspace),
            _checkpoint(params.model_copy(update={"model": dense}), Workspace(workspace.root / "teacher")),
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


def _own_layers(model: Path, layers: Sequence[int]) -> list[int]:
    """Return layers of a checkpoint, numbered as it numbers them, in depth order.

    Raises:
        ValueError: the model has no such layer, or one is named twice.
    """
    return known_layers(layers, depth(load_config(str(model))))
