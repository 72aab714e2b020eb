"""Compare what an installation takes on disk: `python benchmarks/installed_size.py`.

Builds the wheel, installs it into a new environment and lm-evaluation-harness with its Hugging Face backend
into another, both with the repository's constraints (so with the same build of torch), and prints the
packages and the bytes of each. Takes some minutes and a few GiB of a temporary folder.
"""

import argparse
import subprocess
import sys
import tempfile
import venv
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
RIVAL = "lm_eval[hf]"


def build_wheel(folder: Path) -> Path:
    """Build the wheel of the repository into a folder, and return its path."""
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", str(folder)]
    subprocess.run([*command, str(ROOT)], check=True)
    return next(folder.glob("*.whl"))


def installed(what: str, folder: Path) -> tuple[int, int]:
    """Install a requirement into a new environment; return how many packages and bytes it adds."""
    venv.create(folder, with_pip=True)
    (packages,) = folder.glob("lib/python*/site-packages")
    before, bytes_before = _measured(packages)
    pip = [str(folder / "bin" / "python"), "-m", "pip", "install", "--quiet", "--no-compile"]
    subprocess.run([*pip, "-c", str(ROOT / "constraints.txt"), what], check=True)
    after, bytes_after = _measured(packages)
    return after - before, bytes_after - bytes_before


def _measured(packages: Path) -> tuple[int, int]:
    """Return the packages of a folder, and the bytes of its files."""
    files = (path for path in packages.rglob("*") if path.is_file() and not path.is_symlink())
    return len(list(packages.glob("*.dist-info"))), sum(path.stat().st_size for path in files)


def main() -> None:
    """Install both, and print a table and the ratio."""
    argparse.ArgumentParser(description=__doc__).parse_args()
    sizes = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for label, what in (("avss-core", str(build_wheel(folder))), (RIVAL, RIVAL)):
            packages, size = installed(what, folder / label)
            sizes.append(size)
            print(f"{label}: {packages} packages, {size / 2**20:.0f} MiB", flush=True)
    print(f"avss-core over {RIVAL}: {sizes[0] / sizes[1]:.2f}")


if __name__ == "__main__":
    main()
