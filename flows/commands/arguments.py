"""From what a command line says to parameters, and what is refused before any work is done."""

import difflib
import os
from pathlib import Path
from typing import Any

from avss_core.models.locations import model_name
from flows import ROOT, SAMPLE
from flows.commands.options import DEFAULT_PARAMS
from tasks.data.data_folders import question_files, require, sets_in


def params_of(
    model: str,
    revision: str | None,
    data: Path | None,
    sets: str | None,
    changes: list[str] | None,
    options: dict[str, Any],
) -> Any:
    """Return the parameters with what the options of a command change."""
    options = {**options, "model.name": model_name(model), "model.revision": revision}
    if data is not None:
        options |= {"data.source": "path", "data.path": str(data.resolve())}
    names = [name.strip() for name in sets.split(",")] if sets else (sets_in(data) if data else [])
    if sets:
        _refuse_misspelt(names, data, changes or [])
    # Imported behind what is refused without it.
    from flows.settings.reading import load_params

    if names:
        options["data.sets"] = list(dict.fromkeys(filter(None, names)))
    given = {
        key: value
        for key, value in options.items()
        if value is not None or key == "evaluate.limit"  # left out on the command line it means all
    }
    return load_params(DEFAULT_PARAMS, changes, given)


def refuse_absent(params: Any) -> None:
    """Raise FileNotFoundError where the model or the data of a run are not there, before any work is done."""
    model_name(params.model.name)
    if params.data.source == "path":
        require(ROOT / params.data.path, question_files(params.data.sets), params.data.sets)


def _refuse_misspelt(names: list[str], data: Path | None, changes: list[str]) -> None:
    """Raise LookupError for a set that the folder lacks, and that is nearly called as one it has."""
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
    """Raise FileExistsError where a new checkpoint could not be put, before any work is done."""
    refuse_file(out, "--out")
    if out.exists() and any(out.iterdir()):
        raise FileExistsError(f"--out {out} exists already; name another folder or remove it")
    above = next(path for path in out.absolute().parents if path.exists())
    if not os.access(above, os.W_OK | os.X_OK):
        raise PermissionError(f"--out {out}: {above} is read-only; name another folder or make it writable")


def refuse_file(folder: Path, option: str) -> None:
    """Raise NotADirectoryError where a folder cannot be made: a file has its name, or one above it."""
    there = next(path for path in (folder, *folder.absolute().parents) if path.exists())
    if not there.is_dir():
        raise NotADirectoryError(f"{option} {folder}: {there} is a file; name another folder")
