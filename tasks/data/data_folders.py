"""The files that a data folder must hold, checked without reading a row."""

from collections.abc import Sequence
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
    held = ", ".join(sets_in(folder)) if set(missing) & set(question_files(sets)) else ""
    cure = f". As question sets it holds {held}: --set 'data.sets=[{held}]'" if held else ""
    raise FileNotFoundError(
        f"the data folder {folder} lacks {', '.join(missing)}; it holds {', '.join(present)}{cure}. {LAYOUT}"
    )
