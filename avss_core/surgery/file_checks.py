"""The checks of a checkpoint's files: they read bytes and tensors, and need no model."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from safetensors import SafetensorError, safe_open

from avss_core.files.containment import links_out
from avss_core.files.digests import digest_path, digest_tensor
from avss_core.files.writing import read_json
from avss_core.surgery.certificate_records import Promise

_CODE = {".bin", ".ckpt", ".pickle", ".pkl", ".pt", ".pth", ".py"}


@dataclass(frozen=True)
class Check:
    """One property of a checkpoint, and whether it holds."""

    name: str
    passed: bool
    detail: str


def file_checks(folder: Path, promise: Promise) -> tuple[list[Check], bool]:
    """Return the checks of the files, and whether the tensors are those promised, so that more can follow.

    Tensors are read one at a time.
    """
    checks = [_no_code(folder), _configuration_check(folder, promise)]
    try:
        digests = _digests(sorted(folder.glob("*.safetensors")))
    except SafetensorError as error:
        return [*checks, Check("stored tensors", False, f"a file is damaged: {error}")], False
    stored = _tensor_check("stored tensors", promise["tensors"], digests, exact=True)
    if not stored.passed:
        return [*checks, stored], False
    equal = _tensor_check("tensors equal to the source", promise["source_tensors"], digests, exact=False)
    return [*checks, stored, equal, *_refitted(promise)], True


def _refitted(promise: Promise) -> Iterator[Check]:
    """Yield for a repaired checkpoint the check that every tensor was refitted or equals its source."""
    if "refitted" in promise:
        listed, sources = set(promise["refitted"]), set(promise["source_tensors"].values())
        changed = {name for name, digest in promise["tensors"].items() if digest not in sources}
        untold = sorted((changed - listed) | (listed & promise["source_tensors"].keys()))
        detail = f"differ: {untold[:3]}" if untold else f"{len(listed)} tensors, all others as their source"
        yield Check("refitted tensors", not untold, detail)


def _digests(files: Sequence[Path]) -> dict[str, str]:
    """Return the digest of each tensor in safetensors files."""
    digests: dict[str, str] = {}
    for path in files:
        with safe_open(path, framework="pt") as handle:
            for name in handle.keys():  # noqa: SIM118 - safe_open is no mapping
                digests[name] = digest_tensor(handle.get_tensor(name))
    return digests


def _no_code(folder: Path) -> Check:
    """Check that nothing in the folder could run code when it is loaded, or lead out of it."""
    code = [path for path in sorted(folder.rglob("*")) if path.suffix.lower() in _CODE]
    code += [path for path in sorted(folder.glob("*config.json")) if _names_code(path)]
    code += [*folder.glob("adapter_config.json"), *links_out(folder)]
    names = [path.relative_to(folder).as_posix() for path in code]
    return Check("no pickle and no remote code", not names, ", ".join(names) or "safetensors only")


def _names_code(path: Path) -> bool:
    """Tell whether settings name classes of their own, or cannot be read."""
    try:
        settings = read_json(path)
    except ValueError:
        return True
    return not isinstance(settings, dict) or bool(settings.get("auto_map"))


def _configuration_check(folder: Path, promise: Promise) -> Check:
    """Check the configuration's bytes: a kind of layer that differs only beyond the probe shows here."""
    path = folder / "config.json"
    same = path.is_file() and digest_path(path) == promise["configuration"]
    return Check("configuration", same, f"{path.name} {'as' if same else 'is not as'} it was written")


def _tensor_check(name: str, expected: Mapping[str, str], stored: Mapping[str, str], *, exact: bool) -> Check:
    """Check digests by name.

    If `exact`, no other tensor may be stored; otherwise a tied copy may be stored under the other's name.
    """
    values = set() if exact else set(stored.values())
    wrong = [
        k for k, digest in expected.items() if stored.get(k, digest if digest in values else None) != digest
    ]
    extra = [k for k in stored if k not in expected] if exact else []
    detail = f"{len(expected)} tensors" if not wrong and not extra else f"differ: {(wrong + extra)[:3]}"
    return Check(name, not wrong and not extra, detail)
