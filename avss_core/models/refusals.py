"""Errors of models that cannot be loaded: they name the model and what to do."""

import struct
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from huggingface_hub.errors import StrictDataclassError
from huggingface_hub.utils import httpx  # type: ignore[attr-defined]  # the transport of its client
from safetensors import SafetensorError
from transformers.utils.peft_utils import find_adapter_config_file

from avss_core.models.locations import EMBEDDED, gguf_file

BROKEN_OFF: type[Exception] = httpx.HTTPError
"""Raised by a download that breaks off."""

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
