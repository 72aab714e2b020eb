"""What lies at a path, as a digest that is computed again only if something there has changed."""

import functools
from pathlib import Path
from typing import Any

from avss_core.files.digests import digest_path


def content_digest(path: Path) -> str:
    """Return the digest of a file or folder; computed again only if the size or a time of a file changed."""
    files = sorted(p for p in path.rglob("*") if p.is_file()) if path.is_dir() else [path]
    stats = [(str(p), p.stat()) for p in files]
    return _digest_at(path, tuple((p, s.st_size, s.st_mtime_ns, s.st_ctime_ns, s.st_ino) for p, s in stats))


def content_of(value: Any) -> Any:
    """Return what a key holds for an argument: a path by what lies there, anything else as it is.

    A file counts also by its suffix and the name of its folder, which names a question set.
    """
    if isinstance(value, Path):
        known = {"content": content_digest(value)}
        return known if value.is_dir() else known | {"of": value.parent.name, "suffix": value.suffix}
    if isinstance(value, (list, tuple)):
        return [content_of(item) for item in value]
    if isinstance(value, dict):
        return {str(key): content_of(item) for key, item in value.items()}
    return value


@functools.lru_cache(maxsize=256)
def _digest_at(path: Path, _stamps: tuple[tuple[str, int, int, int, int], ...]) -> str:
    return digest_path(path)
