"""What the commands of `avss` run: the same tasks as the stages, for one model in a scratch workspace."""

import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from prefect import flow

from avss_core.models import has_tokenizer
from flows import ROOT, SAMPLE
from flows.evaluation import evaluate_checkpoint
from flows.mitigate import training_settings
from flows.params import Params
from flows.score import readings_of
from flows.workspace import Workspace
from tasks.collect import dump_activations, text_statistics
from tasks.evaluate import compare_variants
from tasks.localize import localize_layers
from tasks.mitigate import train_layers
from tasks.prepare import prepare_data, prepare_model
from tasks.prune import prune_model
from tasks.score import score_layers


@contextmanager
def _scratch(params: Params, *, rows: bool = True) -> Iterator[tuple[Workspace, Path]]:
    """Yield a temporary workspace with prepared data, and the folder of the model."""
    with tempfile.TemporaryDirectory(prefix="avss-") as folder:
        workspace = Workspace(Path(folder))
        if rows:
            prepare_data(
                params.data.source,
                ROOT / Path(params.data.path),
                SAMPLE,
                params.data.sets,
                validation=params.data.validation,
                calibration=params.data.calibration,
                seed=params.seed,
                folder=workspace.prepared,
            )
        model = Path(params.model.name)
        if not model.is_dir():
            prepare_model(
                params.model.name, params.model.revision, dtype=params.model.dtype, folder=workspace.dense
            )
            model = workspace.dense
        yield workspace, model.resolve()


def _machine(params: Params) -> dict[str, Any]:
    """Return where and in which precision a model runs."""
    return {"dtype": params.model.dtype, "device": params.model.device}


def _scores(params: Params, workspace: Workspace, model: Path) -> dict[str, Any]:
    """Return the scores of every layer by the chosen reading, from the calibration text."""
    options = params.collect
    statistics = text_statistics(
        model,
        workspace.prepared / "text" / "calibration.json",
        **_machine(params),
        tokens=options.tokens,
        window=options.window,
        batch_size=options.batch_size,
        skip_first=options.skip_first,
        sites=options.sites,
        absolute=options.threshold,
        relative=options.relative_threshold,
    )
    label, *_ = readings = readings_of([params.score.name], params.seed, 1)
    scored = score_layers(
        statistics,
        readings,
        absolute=options.threshold,
        relative=options.relative_threshold,
        ratio=params.prune.ratio,
        protect_first=params.prune.protect_first,
        protect_last=params.prune.protect_last,
    )
    return {"tokens": statistics["tokens"], **scored["readings"][label[0]]}


@flow(name="score-model", persist_result=False)
def score_model(params: Params) -> dict[str, Any]:
    """Return one row per layer: its score, its share of the sum, the running sum, and whether it would go."""
    with _scratch(params) as (workspace, model):
        found = _scores(params, workspace, model)
    rows = zip(found["scores"], found["normalised"], found["cumulative"], strict=True)
    return {
        "model": params.model.name,
        "score": params.score.name,
        "reference": found["reference"],
        "prune_first": "lowest",
        "ratio": params.prune.ratio,
        "removed": found["removed"],
        "tokens": found["tokens"],
        "layers": [
            {
                "layer": layer,
                "score": score,
                "normalised": share,
                "cumulative": running,
                "removed": layer in found["removed"],
                "shot_noise": layer in found["shot_noise"],
            }
            for layer, (score, share, running) in enumerate(rows)
        ],
    }


@flow(name="prune-by-score", persist_result=False)
def prune_by_score(params: Params, out: Path) -> dict[str, Any]:
    """Score the layers, write the checkpoint without the lowest ones, and return its certificate."""
    folder = Path(params.model.name)
    if folder.is_dir() and not has_tokenizer(folder):
        raise FileNotFoundError(f"{folder} has no tokenizer, so its layers cannot be scored; name them with --layers")
    with _scratch(params) as (workspace, model):
        removed = _scores(params, workspace, model)["removed"]
    return prune_layers(params, removed, out, score=params.score.name)


def prune_layers(params: Params, removed: Sequence[int], out: Path, score: str = "explicit list") -> dict[str, Any]:
    """Write the checkpoint without some layers, and return its certificate."""
    certificate: dict[str, Any] = prune_model.fn(
        params.model.name,
        removed,
        revision=params.model.revision,
        dtype=params.model.dtype,
        folder=out,
        provenance={"model": params.model.name, "revision": params.model.revision, "score": score},
    )
    return certificate


@flow(name="evaluate-model", persist_result=False)
def evaluate_model(params: Params) -> dict[str, Any]:
    """Return the figures of one model on the question sets, text and reviews."""
    with _scratch(params) as (workspace, model):
        figures, _ = evaluate_checkpoint(params, workspace.prepared, model)
    return {"model": params.model.name, **figures}


def _localized(params: Params, workspace: Workspace, model: Path) -> dict[str, Any]:
    """Return EAVSS of every layer of a model."""
    dump_activations(
        model,
        workspace.prepared,
        params.data.sets,
        **_machine(params),
        site=params.collect.dump_site,
        relative=params.collect.relative_threshold,
        questions=params.collect.answers,
        folder=workspace.activations,
    )
    found: dict[str, Any] = localize_layers(
        workspace.activations,
        params.collect.dump_site,
        reading=params.localize.reading,
        resamples=params.localize.resamples,
        seed=params.seed,
        sets=params.data.sets,
    )
    return found


@flow(name="localize-model", persist_result=False)
def localize_model(params: Params) -> dict[str, Any]:
    """Return one row per layer with its EAVSS, interval and probe AUROC, and the layers by proneness."""
    with _scratch(params) as (workspace, model):
        found = _localized(params, workspace, model)
    chosen = found["readings"][found["reading"]]
    rows = zip(chosen["values"], chosen["low"], chosen["high"], found["probe_auroc"], strict=True)
    return {
        "model": params.model.name,
        **{key: found[key] for key in ("reading", "reference", "site", "questions", "most_prone")},
        "layers": [
            {"layer": layer, "score": value, "low": low, "high": high, "probe_auroc": auroc}
            for layer, (value, low, high, auroc) in enumerate(rows)
        ],
    }


@flow(name="mitigate-model", persist_result=False)
def mitigate_model(params: Params, out: Path, layers: Sequence[int] | None) -> dict[str, Any]:
    """Train the given or the most prone layers, write the merged checkpoint, and compare before and after."""
    with _scratch(params) as (workspace, model):
        chosen = list(layers) if layers else _localized(params, workspace, model)["most_prone"]
        training = train_layers(
            model,
            workspace.prepared,
            params.data.sets,
            chosen,
            **_machine(params),
            layers=len(layers) if layers else params.mitigate.layers,
            pairs=params.mitigate.pairs,
            settings=training_settings(params),
            folder=out,
            provenance={"model": params.model.name, "revision": params.model.revision},
            replace=False,
        )
        before, before_answers = evaluate_checkpoint(params, workspace.prepared, model)
        after, after_answers = evaluate_checkpoint(params, workspace.prepared, out)
    return {
        "model": params.model.name,
        "out": str(out),
        "training": training,
        "before": before,
        "after": after,
        "difference": compare_variants(before_answers, after_answers, seed=params.seed),
    }
