"""Names and links in downloads, which must not lead out of their folder."""

import re
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

_OBJECT = re.compile(r"/files/md5/[0-9a-f]{2}/[0-9a-f]{30}$")
"""End of the path of a file in a cache of DVC, which may lie anywhere: shared, or on another disk."""


def inside(folder: Path, name: str) -> Path:
    """Return the path of a name below a folder; it need not exist.

    Args:
        folder: the path must lie in it.
        name: relative, with slashes, such as "wikitext2/test.txt".

    Raises:
        ValueError: the name is not relative, goes up, or is a link that leads out of the folder.
    """
    parts = PurePosixPath(name).parts
    if not parts or ".." in parts or parts[0] == "/" or "\\" in name or not name.isprintable():
        raise ValueError(f"{name!r} does not name a file below {folder}: leave out .. and the leading /")
    path = folder / name
    _refuse(path, folder)
    return path


def refuse_links(folder: Path) -> None:
    """Refuse a folder with a link that leads out of it.

    Raises:
        ValueError: a link leads out of the folder; names it and its target.
    """
    for path in links_out(folder):
        _refuse(path, folder)


def links_out(folder: Path) -> Iterator[Path]:
    """Yield the links in a folder, however deep, that lead out of it, in their order by name."""
    yield from (path for path in sorted(folder.rglob("*")) if path.is_symlink() and not _stays(path, folder))


def _refuse(path: Path, folder: Path) -> None:
    """Raise ValueError if a path leads out of its folder."""
    if not _stays(path, folder):
        raise ValueError(
            f"{path} is a link that leads out of {folder}, to {path.resolve()}, and is not followed: put a "
            "copy of what you trust in its place"
        )


def _stays(path: Path, folder: Path) -> bool:
    """Tell whether a path lies in its folder once all links are followed.

    Two stores link to files by their content and are followed: the Hub's cache, whose snapshots are links
    into the same model's `blobs`, and DVC's cache, for a folder in a repository of DVC. A link to an object
    there names the digest of its content, so whoever made it knows the content.
    """
    home, target = folder.resolve(), path.resolve()
    repositories = [above for above in home.parents if (above / ".dvc").is_dir()]
    stores = [(repository / ".dvc" / "cache").resolve() for repository in repositories]
    if home.parent.name == "snapshots":
        stores.append(home.parents[1] / "blobs")
    if repositories and _OBJECT.search(target.as_posix()):
        return True
    return any(target.is_relative_to(place) for place in (home, *stores))
