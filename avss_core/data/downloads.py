"""Fetch the weights of a model of the Hub, with a bar; `transformers` then finds them in its cache."""

import math
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

from huggingface_hub import hf_hub_download
from huggingface_hub.errors import EntryNotFoundError
from tqdm import tqdm
from transformers.utils import SAFE_WEIGHTS_INDEX_NAME, SAFE_WEIGHTS_NAME

from avss_core.display.steps import Advance, progress
from avss_core.files.writing import read_json
from avss_core.models.loading import load_config
from avss_core.models.locations import EMBEDDED, base_model
from avss_core.models.refusals import UNREACHABLE, not_found

_MEGABYTE = 10**6


def fetch_weights(name: str, revision: str | None) -> None:
    """Fetch the safetensors files of a model of the Hub that are not in its cache, and show the progress.

    Does nothing for a folder, a file or an embedded model, nor if the Hub does not answer: loading then finds
    the files in the cache, or says what is wrong.

    Args:
        name: as `avss_core.models.loading.load_model` takes it.
        revision: commit, tag or branch.

    Raises:
        FileNotFoundError: a download broke off; the next one fetches the files that are missing.
        ValueError, LookupError: the model would be refused after the download.
    """
    if name in EMBEDDED or base_model(name) is None:
        return
    load_config(name, revision)
    fetch: Callable[..., Any] = partial(hf_hub_download, name, revision=revision)
    wanted = []
    with suppress(*UNREACHABLE, ValueError):
        files = [fetch(file, dry_run=True) for file in _weights(fetch)]
        wanted = [file for file in files if file.will_download]
    size = math.ceil(sum(file.file_size for file in wanted) / _MEGABYTE)
    with progress(f"fetching {name}", size, "MB") as advance:
        bar = partial(_Bar, _Megabytes(advance))
        for file in wanted:
            try:
                fetch(file.filename, tqdm_class=bar)
            except UNREACHABLE as error:
                raise FileNotFoundError(not_found(name, revision, error)) from error


def _weights(fetch: Callable[..., Any]) -> list[str]:
    """Return the names of the safetensors files: one, or those in the index."""
    try:
        fetch(SAFE_WEIGHTS_NAME, dry_run=True)
    except EntryNotFoundError:
        index = read_json(Path(fetch(SAFE_WEIGHTS_INDEX_NAME)))
        return sorted({file for file in index["weight_map"].values() if file.endswith(".safetensors")})
    return [SAFE_WEIGHTS_NAME]


class _Megabytes:
    """Counts bytes of all files, and advances the progress by whole megabytes."""

    def __init__(self, advance: Advance) -> None:
        self.advance, self.bytes = advance, 0

    def count(self, more: int) -> None:
        """Count bytes; negative if a file begins anew."""
        before = self.bytes // _MEGABYTE
        self.bytes += more
        self.advance(self.bytes // _MEGABYTE - before)


class _Bar(tqdm):  # type: ignore[misc]  # which carries no types
    """Takes the progress of one file from the Hub's library; draws nothing itself."""

    def __init__(self, counted: _Megabytes, *, initial: int = 0, **_more: Any) -> None:
        super().__init__(disable=True)
        self.counted = counted
        counted.count(initial)  # bytes of an earlier attempt

    def update(self, n: float | None = 1) -> None:
        """Count bytes."""
        self.counted.count(int(n or 0))
