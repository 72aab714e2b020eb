"""The weights of a model of the Hub, fetched with a bar; `transformers` then finds them in its cache."""

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

from avss_core.files.writing import read_json
from avss_core.models.loading import load_config
from avss_core.models.locations import EMBEDDED, base_model
from avss_core.models.refusals import UNREACHABLE, not_found
from tasks.progress.steps import Advance, progress

_MEGABYTE = 10**6


def fetch_weights(name: str, revision: str | None) -> None:
    """Fetch the safetensors files of a model of the Hub that are not in its cache, and show how far that is.

    Does nothing for a folder, a file or an embedded model. Where the Hub cannot be asked which files there
    are, the loading says what is the matter, or finds them in the cache.

    Args:
        name: as `avss_core.models.loading.load_model` takes it.
        revision: commit, tag or branch.

    Raises:
        FileNotFoundError: a download broke off; the next one goes on with the files that are missing.
        ValueError, LookupError: the model would be refused when it is here.
    """
    if name in EMBEDDED or base_model(name) is None:
        return
    load_config(name, revision)
    fetch: Callable[..., Any] = partial(hf_hub_download, name, revision=revision)
    wanted = []
    with suppress(*UNREACHABLE, ValueError):
        found = [fetch(file, dry_run=True) for file in _weights(fetch)]
        wanted = [file for file in found if file.will_download]
    size = math.ceil(sum(file.file_size for file in wanted) / _MEGABYTE)
    with progress(f"fetching {name}", size, "MB") as advance:
        bar = partial(_Bar, _Megabytes(advance))
        for file in wanted:
            try:
                fetch(file.filename, tqdm_class=bar)
            except UNREACHABLE as error:
                raise FileNotFoundError(not_found(name, revision, error)) from error


def _weights(fetch: Callable[..., Any]) -> list[str]:
    """Return the names of the safetensors files: one, or those that an index names."""
    try:
        fetch(SAFE_WEIGHTS_NAME, dry_run=True)
    except EntryNotFoundError:
        index = read_json(Path(fetch(SAFE_WEIGHTS_INDEX_NAME)))
        return sorted({file for file in index["weight_map"].values() if file.endswith(".safetensors")})
    return [SAFE_WEIGHTS_NAME]


class _Megabytes:
    """Counts the bytes of all files and passes them on in whole megabytes."""

    def __init__(self, advance: Advance) -> None:
        self.advance, self.bytes = advance, 0

    def count(self, more: int) -> None:
        """Count bytes; fewer than none where a file begins anew."""
        before = self.bytes // _MEGABYTE
        self.bytes += more
        self.advance(self.bytes // _MEGABYTE - before)


class _Bar(tqdm):
    """What the Hub's library tells of one file; draws nothing itself."""

    def __init__(self, counted: _Megabytes, *, initial: int = 0, **_more: Any) -> None:
        super().__init__(disable=True)
        self.counted = counted
        counted.count(initial)  # of a download that goes on

    def update(self, n: float | None = 1) -> None:
        """Count bytes."""
        self.counted.count(int(n or 0))
