"""The files that a data folder must hold, checked without reading a row."""

from collections.abc import Iterable, Sequence
from pathlib import Path

from avss_core.files.containment import inside

LAYOUT = (
    "The layout is SET/train.jsonl and SET/test.jsonl for each set in data.sets; sst2 (train.jsonl and "
    "validation.jsonl, for sentiment) and wikitext2 (valid.txt and test.txt, for text) may be left out; "
    "data.sentiment and data.text name others."
)


def question_files(sets: Sequence[str]) -> list[str]:
    """Return the files of question sets, relative to their folder."""
    return [f"{name}/{side}.jsonl" for name in sets for side in ("train", "test")]


def sets_in(folder: Path) -> list[str]:
    """Return the question sets that a folder holds; sst2 is the sentiment set."""
    held = {file.parent.name for file in folder.glob("*/test.jsonl")}
    return sorted(name for name in held - {"sst2"} if (folder / name / "train.jsonl").is_file())


def half_sets(folder: Path) -> list[str]:
    """Return the folders that look like a question set but lack a file of that exact name."""
    known = {"sst2", *sets_in(folder)}
    return [
        each.name
        for each in sorted(folder.iterdir() if folder.is_dir() else [])
        if each.is_dir()
        and not each.is_symlink()
        and each.name not in known
        and any(file.name.casefold().startswith(("train.", "test.")) for file in each.iterdir())
        # Folders of sentiment and of text.
        and not any((each / name).is_file() for name in ("validation.jsonl", "valid.txt"))
    ]


def contents(folder: Path, names: Iterable[str]) -> str:
    """Return in words what folders of a data folder hold."""
    parts = []
    for name in names:
        files = sorted(entry.name for entry in (folder / name).iterdir())
        parts.append(f"{name} holds {', '.join(files)}" if files else f"{name} is empty")
    return "; ".join(parts)


def require(folder: Path, files: Sequence[str], sets: Sequence[str]) -> None:
    """Raise an error unless a folder has all the files.

    Args:
        folder: the data folder.
        files: files that must be there, relative to it.
        sets: the question sets that the run uses.

    Raises:
        FileNotFoundError: files are missing; the message lists them, what is there, and the layout.
        ValueError: a name or a link leads out of the folder.
    """
    if not folder.is_dir():
        problem = "is not a folder" if folder.exists() else "does not exist"
        raise FileNotFoundError(f"the data folder {folder} {problem}: give an existing one. {LAYOUT}")
    present = sorted(entry.name for entry in folder.iterdir())
    if not present:
        raise FileNotFoundError(f"the data folder {folder} is empty: put {', '.join(files)} there. {LAYOUT}")
    missing = [file for file in files if not inside(folder, file).is_file()]
    if not missing:
        return
    named = (file.partition("/")[0] for file in missing)
    opened = [name for name in named if (folder / name).is_dir()]
    inside_them = contents(folder, dict.fromkeys([*opened, *half_sets(folder)]))
    read = f"; {inside_them}; files with exactly the names of the layout are read" if inside_them else ""
    held = ", ".join(sets_in(folder)) if set(missing) & set(question_files(sets)) else ""
    cure = f". As question sets it holds {held}: --set 'data.sets=[{held}]'" if held else ""
    raise FileNotFoundError(
        f"the data folder {folder} lacks {', '.join(missing)}; it holds {', '.join(present)}{read}{cure}. "
        f"{LAYOUT}"
    )
