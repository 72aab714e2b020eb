"""Errors of models that cannot be loaded: they name the model and what to do."""

import re
import struct
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from huggingface_hub.errors import StrictDataclassError
from huggingface_hub.utils import httpx  # type: ignore[attr-defined]  # the transport of its client
from safetensors import SafetensorError
from transformers import PretrainedConfig
from transformers.utils.peft_utils import find_adapter_config_file

from avss_core.files.writing import read_json
from avss_core.models.locations import EMBEDDED, gguf_file

BROKEN_OFF: type[Exception] = httpx.HTTPError
"""Raised by a download that breaks off."""

_DEQUANTIZED = {"mxfp4", "fp8"}
"""Kinds of quantization that transformers undoes when it loads them without their kernels."""

_QUANTIZED = ("quantization_config", "compression_config", "quantization")
"""Keys that tell of quantized weights: of transformers, of compressed-tensors before, and of MLX."""

_SETTINGS = ("config.json", "generation_config.json", "tokenizer_config.json")
"""Files of a checkpoint that people edit."""

UNREACHABLE = (OSError, BROKEN_OFF)
"""Raised if a model cannot be read or fetched."""


@contextmanager
def damage(name: str) -> Iterator[None]:
    """Turn what libraries raise about a damaged file into an error that names the model.

    Raises:
        ValueError: a file cannot be read.
    """
    known: tuple[type[Exception], ...] = (SafetensorError, StrictDataclassError)
    verdict = "is damaged"
    if gguf_file(name):  # whose reader does not tell a damaged file from one of another kind
        known, verdict = (ValueError, KeyError, IndexError, struct.error), "cannot be read"
    try:
        yield
    except known as error:
        raise ValueError(f"{name} {verdict}: {error}") from error


def refuse_code(name: str, settings: Mapping[str, Any]) -> None:
    """Raise ValueError if a configuration names code, which is never run, or weights elsewhere."""
    if settings.get("auto_map"):
        raise ValueError(
            f"{name} needs remote code (auto_map in config.json: {', '.join(sorted(settings['auto_map']))}), "
            f"which is never run. If the class of transformers for {settings.get('model_type')!r} fits the "
            "weights, remove auto_map from a copy of the checkpoint and give that folder."
        )
    for key in ("attn_implementation", "_attn_implementation", "transformers_weights"):
        # With a slash it is compiled code of the Hub. Weights have one name, model.safetensors.
        if (key == "transformers_weights" and key in settings) or "/" in str(settings.get(key)):
            raise ValueError(
                f"{name} names {settings[key]!r} in config.json ({key}), which is not fetched, run or read: "
                f"remove {key} from a copy of the checkpoint and give that folder."
            )


def refuse_quantized(name: str, settings: Mapping[str, Any]) -> None:
    """Refuse weights in a form that neither transformers nor, for those of four bits, bitsandbytes reads.

    Raises:
        ValueError: the weights have another form.
        ModuleNotFoundError: they have four bits, and bitsandbytes is not installed.
    """
    if is_four_bit(settings):
        if find_spec("bitsandbytes") is None:
            lacks = f"{name} has weights of 4 bits, which bitsandbytes reads"
            raise ModuleNotFoundError(lacks, name="bitsandbytes")
        return
    for key in _QUANTIZED:
        said = settings.get(key)
        method = said.get("quant_method", said.get("quant_algo")) if isinstance(said, Mapping) else said
        undone = isinstance(said, Mapping) and key == _QUANTIZED[0] and method in _DEQUANTIZED
        if said is None or undone:
            continue
        raise ValueError(
            f"{name} is quantized ({key} in config.json: {method}), and layers are scored and removed in "
            "floating point: give the checkpoint that it was made from, or one that model.dequantize() and "
            f"save_pretrained have written. If its tensors are plain floats, remove {key} from a copy and "
            "give that folder."
        )


def is_four_bit(settings: Mapping[str, Any]) -> bool:
    """Tell whether a configuration is of weights that bitsandbytes keeps in four bits."""
    said = settings.get(_QUANTIZED[0])
    if not isinstance(said, Mapping):
        return False
    return said.get("quant_method") == "bitsandbytes" and bool(said.get("load_in_4bit"))


def refuse_four_bit(config: PretrainedConfig, what: str) -> None:
    """Raise ValueError for weights of four bits, which can be read and not changed."""
    if is_four_bit(config.to_dict()):
        raise ValueError(
            f"a model with weights of 4 bits can be scored and evaluated, not {what}: give the checkpoint "
            "that it was made from, or one that model.dequantize() and save_pretrained have written"
        )


def refuse_repeated_keys(folder: Path) -> None:
    """Raise ValueError if a key stands twice in a folder's settings: the last would win, without a word."""
    for path in (folder / name for name in _SETTINGS):
        if path.is_file():
            read_json(path)


def wrong_tensors(name: str, problems: Mapping[str, list[str]], layers: int) -> str:
    """Return the message for a checkpoint with other tensors than its architecture, which has `layers`.

    Args:
        name: of the model.
        problems: names of tensors by what is wrong with them, as transformers tells it.
        layers: depth by the configuration.
    """
    said = f"{name} does not hold exactly the tensors of its architecture: {problems}"
    if set(problems) != {"unexpected_keys"}:
        return said
    extra = problems["unexpected_keys"]
    behind = [tensor for tensor in extra if re.search(rf"\.{layers}\.", tensor)]
    what = ""
    if behind:
        what = (
            f" Those of layer {layers} lie behind the last: either an extra layer of prediction (MTP), which "
            "is not run, or num_hidden_layers in config.json is too small."
        )
    return (
        f"{said}.{what} The model does without them: AutoModelForCausalLM.from_pretrained(DIR)"
        ".save_pretrained(NEW), with the tokenizer saved beside it, writes a copy that leaves them out."
    )


def refuse_adapter(name: str, where: str, revision: str | None) -> None:
    """Raise ValueError if a model is an adapter: its settings name another model that would be loaded."""
    if find_adapter_config_file(where, revision=revision) is not None:
        raise ValueError(
            f"{name} holds an adapter (adapter_config.json), which names another model to be loaded in its "
            "place: merge the two (merge_and_unload of peft, then save_pretrained) and give that folder."
        )


def not_found(name: str, revision: str | None, error: Exception | str) -> str:
    """Return the message for a model that cannot be loaded."""
    at = f" at revision {revision}" if revision else ""
    reason = (str(error).strip() or type(error).__name__).splitlines()[0]
    reason = reason.partition(" Please do not set `use_safetensors")[0].rstrip(" :.")  # it asks for a pickle
    return (
        f"cannot load {name}{at}: {reason}. Give a checkpoint folder with safetensors weights and a "
        f"tokenizer, a GGUF file, a Hub id that this machine can reach, or one of: {', '.join(EMBEDDED)}."
    )
