"""Tensors by key, in memory up to a limit in bytes, beyond it in safetensors files."""

import shutil
import tempfile
from collections.abc import Hashable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

from avss_core.files.writing import disk_errors

Tensors = Mapping[str, Tensor]


class TensorStore:
    """Tensors by key, bit for bit as they were put in, on the CPU."""

    def __init__(self, folder: Path, limit: int) -> None:
        self.folder, self.limit = folder, limit
        self.held = 0
        """Bytes in memory."""
        self._memory: dict[Hashable, dict[str, Tensor]] = {}
        self._files: dict[Hashable, tuple[Path, dict[str, str]]] = {}

    def __contains__(self, key: Hashable) -> bool:
        return key in self._memory or key in self._files

    def put(self, items: Mapping[Hashable, Tensors]) -> None:
        """Keep some tensors; those of one call go to one file if they exceed the limit of memory.

        Raises:
            OSError: a file cannot be written.
        """
        plain = {
            key: {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
            for key, tensors in items.items()
        }
        size = sum(tensor.nbytes for tensors in plain.values() for tensor in tensors.values())
        if self.held + size <= self.limit:
            self.held += size
            # Cloned, lest a slice keep all of the tensor that it was cut from.
            for key, tensors in plain.items():
                self._memory[key] = {name: tensor.clone() for name, tensor in tensors.items()}
            return
        path = self.folder / f"{len(self._files)}.safetensors"
        places = {key: {name: f"{row}.{name}" for name in plain[key]} for row, key in enumerate(plain)}
        with disk_errors():
            self.folder.mkdir(parents=True, exist_ok=True)
            save_file(
                {places[k][n]: tensor for k, tensors in plain.items() for n, tensor in tensors.items()}, path
            )
        self._files |= {key: (path, names) for key, names in places.items()}

    def get(self, key: Hashable) -> dict[str, Tensor]:
        """Return the tensors of a key.

        Raises:
            KeyError: nothing was put there.
        """
        if key in self._memory:
            return self._memory[key]
        path, names = self._files[key]
        with safe_open(path, framework="pt") as handle:
            return {name: handle.get_tensor(stored) for name, stored in names.items()}


@contextmanager
def tensor_store(folder: Path | None, limit: int) -> Iterator[TensorStore]:
    """Yield an empty store; its files are removed after the context.

    Args:
        folder: of the files, made anew; None for a temporary folder.
        limit: largest number of bytes in memory.
    """
    place = Path(tempfile.mkdtemp(prefix="avss-")) if folder is None else folder
    shutil.rmtree(place, ignore_errors=True)  # what a killed run left
    try:
        yield TensorStore(place, limit)
    finally:
        shutil.rmtree(place, ignore_errors=True)
