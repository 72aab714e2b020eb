"""The data behind a stage's numbers: each split of each set, with digest, count and origin."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from avss_core.data.rows import read_documents, read_prepared
from avss_core.files.digests import digest_path
from avss_core.files.writing import read_json

ALL = (
    "questions/calibration",
    "questions/train",
    "questions/validation",
    "questions/test",
    "reviews/train",
    "reviews/validation",
    "text/calibration",
    "text/test",
)
"""Every kind and split that `prepare` writes."""

LEARNT = ("questions/train", "questions/validation")
"""Questions that layers are chosen and trained on."""

ASKED = ("questions/calibration", "questions/train", "questions/test")
"""Questions of an evaluation: test questions, and demonstrations from the other two parts."""

EVALUATED = (*ASKED, "reviews/train", "reviews/validation", "text/test")
"""All that a model is evaluated on."""


@dataclass(frozen=True)
class DataPart:
    """One split of one set."""

    name: str
    """SET/SPLIT, such as nq/test."""
    split: str
    digest: str
    """SHA-256 of the prepared file."""
    path: str
    count: int
    """Rows, or documents of a text."""
    origin: str
    """Where the rows come from: the sample, a folder, or the Hub."""


def data_parts(prepared: Path, kinds: Sequence[str]) -> list[DataPart]:
    """Return the parts of prepared data of some kinds, such as `questions/test`, without empty splits."""
    if not kinds:
        return []
    origin = read_json(prepared / "manifest.json")["origin"]
    parts = []
    for kind, path in sorted(_files(prepared)):
        if kind in kinds:
            text = kind.startswith("text/")
            count = len(read_documents(path) if text else read_prepared(path))
            where = {"questions": "questions", "reviews": "sentiment", "text": "text"}[kind.partition("/")[0]]
            if count:
                name = f"{path.parent.name}/{path.stem}"
                parts.append(DataPart(name, path.stem, digest_path(path), str(path), count, origin[where]))
    return parts


def _files(prepared: Path) -> Iterator[tuple[str, Path]]:
    """Yield every prepared file with its kind and split."""
    for path in prepared.glob("*/*.json*"):
        kind = {"text": "text", "sst2": "reviews"}.get(path.parent.name, "questions")
        yield f"{kind}/{path.stem}", path
