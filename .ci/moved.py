"""Let a virtual environment work where it is now: `make` calls this after its folder may have moved.

Scripts of an environment, and its link to a project that was installed in place, name the folder in which
they were made.
"""

import re
import shlex
import sys
from collections.abc import Iterator
from pathlib import Path

_LONGEST = 127
"""Bytes that every system reads of a script's first line."""


def made_in(environment: Path) -> Path | None:
    """Return the folder in which an environment was made; None if it does not say so."""
    activate = environment / "bin" / "activate"
    text = activate.read_text(encoding="utf-8") if activate.is_file() else ""
    names = re.findall(r"^ *(?:export +)?VIRTUAL_ENV=([\"'/].*)$", text, re.MULTILINE)
    places = [Path(word) for name in names for word in shlex.split(name)[:1] if word.startswith("/")]
    return places[0] if places else None


def move(environment: Path, before: Path) -> None:
    """Write the environment's own folder, and its parent's, where its files name those before."""
    old, new = str(before.parent), str(environment.parent)
    name = re.compile(re.escape(old.rstrip("/").encode()) + rb"(?![^/\"'\s:])")
    for path in _naming(environment):
        text = path.read_bytes()
        moved = name.sub(lambda _: new.encode(), text)
        if moved != text:
            path.write_bytes(_startable(moved, environment))


def _naming(environment: Path) -> Iterator[Path]:
    """Yield the files that may name the folder: scripts, and links to projects."""
    packages = [*environment.glob("lib/python*/site-packages")]
    patterns = ("*.pth", "__editable__*.py", "*.dist-info/direct_url.json")
    # Last the file that says where the environment was made: until then a broken move is made again.
    scripts = sorted((environment / "bin").iterdir(), key=lambda path: path.name == "activate")
    files = [path for each in packages for pattern in patterns for path in each.glob(pattern)]
    for path in [environment / "pyvenv.cfg", *files, *scripts]:
        if path.is_file() and not path.is_symlink() and b"\0" not in path.read_bytes()[:512]:
            yield path


def _startable(script: bytes, environment: Path) -> bytes:
    """Return a script with a first line that a system can read: without spaces, and not too long."""
    first, _, rest = script.partition(b"\n")
    python = str(environment / "bin").encode()
    if not first.startswith(b"#!" + python) or (b" " not in python and len(first) <= _LONGEST):
        return script
    return b"#!/bin/sh\n'''exec' \"" + first[2:].rstrip() + b'" "$0" "$@"\n' + b"' '''\n" + rest


if __name__ == "__main__":
    here = Path(sys.argv[1]).absolute()
    place = made_in(here)
    if place is not None and place != here:
        move(here, place)
        print(f"The folder has moved from {place.parent}: the scripts of {here.name} follow it.")
