"""Write models and tokenizers as checkpoints that transformers 4 reads as transformers 5 does."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from transformers import PretrainedConfig, PreTrainedModel, PreTrainedTokenizerBase

from avss_core.files.writing import disk_errors, read_json, write_json
from avss_core.models.loading import load_tokenizer
from avss_core.models.older_keys import older_config, older_tokenizer, tokenizer_state


def save_checkpoint(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase | None, folder: Path) -> None:
    """Write a plain safetensors checkpoint with generation settings, tokenizer and chat template.

    Raises:
        OSError: a file cannot be written.
    """
    with disk_errors():
        model.save_pretrained(folder, safe_serialization=True)
    _set(folder / "config.json", older_config(model.config))
    save_tokenizer(tokenizer, folder)


def save_config(config: PretrainedConfig, folder: Path) -> None:
    """Write a configuration as `save_checkpoint` does.

    Raises:
        OSError: the file cannot be written.
    """
    with disk_errors():
        config.save_pretrained(folder)
    _set(folder / "config.json", older_config(config))


def save_tokenizer(tokenizer: PreTrainedTokenizerBase | None, folder: Path) -> None:
    """Write a tokenizer with its chat template; nothing if there is no tokenizer.

    Raises:
        OSError: a file cannot be written.
    """
    if tokenizer is None:
        return
    with disk_errors():
        tokenizer.save_pretrained(folder)
    path, state = folder / "tokenizer_config.json", tokenizer_state(tokenizer)
    _set(path, older_tokenizer(tokenizer))
    if state and tokenizer_state(load_tokenizer(str(folder))) != state:
        # Some classes build themselves anew from the vocabulary and lose what else tokenizer.json says.
        _set(path, older_tokenizer(tokenizer, plain=True))


def _set(path: Path, settings: Mapping[str, Any]) -> None:
    """Set keys of a file of settings, and remove those that are None."""
    both = read_json(path) | settings
    write_json(path, {key: value for key, value in both.items() if key not in settings or value is not None})
