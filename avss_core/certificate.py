"""A checkpoint that proves itself: what was promised when it was written, checked by a fresh process."""

import multiprocessing
from collections.abc import Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float, Int
from safetensors import SafetensorError, safe_open
from torch import Tensor
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from avss_core.architectures import architecture_of, blocks, depth, window
from avss_core.digests import digest_path, digest_tensors, read_json, write_json
from avss_core.models import load_model, load_tokenizer, save_checkpoint
from avss_core.pruning import parameter_bytes, parameter_count, pruned_state

CERTIFICATE = "certificate.json"
LOGIT_TOLERANCE = 1e-3
"""Largest difference of a logit between writer's and reader's machine, relative to the largest logit.

In half precision it is four of the dtype's steps at 1, where that is more.
"""
_CODE = {".bin", ".ckpt", ".pickle", ".pkl", ".pt", ".pth", ".py"}
_PROBE_TOKENS = 48
_NEW_TOKENS = 8


@dataclass(frozen=True)
class Check:
    """One property of a checkpoint, and whether it holds."""

    name: str
    passed: bool
    detail: str


def write_certified(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase | None,
    folder: Path,
    *,
    source: Mapping[str, str],
    layer_map: Sequence[int],
    provenance: Mapping[str, Any],
) -> dict[str, Any]:
    """Write a checkpoint and its certificate, and return the certificate.

    Args:
        model: what is written.
        tokenizer: saved beside it where there is one.
        folder: an empty folder; the caller moves it to its place after success.
        source: digest of the source tensor that each named tensor must equal to the bit; tensors that were
            trained are left out.
        layer_map: old number of each layer, in new depth order.
        provenance: where the model comes from, as JSON values.

    Raises:
        ValueError: a check failed in the fresh process; names the checks.
    """
    save_checkpoint(model, tokenizer, folder)
    promise = {
        "layer_map": list(layer_map),
        "parameters": parameter_count(model),
        "bytes": parameter_bytes(model),
        "dtype": str(model.dtype).removeprefix("torch."),
        "tokenizer": tokenizer is not None,
        "configuration": digest_path(folder / "config.json"),
        "source_tensors": dict(source),
        "tensors": digest_tensors(_stored(model)),
        "logits": probe_logits(model),
        "provenance": dict(provenance),
    }
    write_json(folder / CERTIFICATE, promise)
    checks = verify(folder)
    failed = [f"{check.name} ({check.detail})" for check in checks if not check.passed]
    if failed:
        raise ValueError(f"the checkpoint does not hold what it promises: {'; '.join(failed)}")
    certificate = promise | {"checks": [asdict(check) for check in checks]}
    write_json(folder / CERTIFICATE, certificate)
    return certificate


def kept_source(state: Mapping[str, Tensor], path: str, kept: Sequence[int]) -> dict[str, str]:
    """Return the digest that each tensor of a pruned model must have, by its new name."""
    return digest_tensors(pruned_state(state, path, kept))


def verify(folder: Path) -> list[Check]:
    """Return the checks of a certified checkpoint, made by a fresh process.

    Raises:
        FileNotFoundError: the folder is no certified checkpoint.
    """
    if not (folder / CERTIFICATE).is_file():
        raise FileNotFoundError(f"{folder} has no {CERTIFICATE}: it is not a checkpoint that avss wrote")
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as fresh:
        return fresh.submit(inspect, folder).result()


def inspect(folder: Path) -> list[Check]:
    """Return the checks of a certified checkpoint, made in this process."""
    promise = read_json(folder / CERTIFICATE)
    checks = [_no_code(folder), _configuration_check(folder, promise)]
    try:
        found = _digests(sorted(folder.glob("*.safetensors")))
    except SafetensorError as error:
        return [*checks, Check("stored tensors", False, f"a file is damaged: {error}")]
    checks.append(_tensor_check("stored tensors", promise["tensors"], found, exact=True))
    if not checks[-1].passed:
        return checks
    checks.append(_tensor_check("tensors equal to the source", promise["source_tensors"], found, exact=False))
    try:
        model = load_model(str(folder), dtype=promise["dtype"])
    except (ValueError, LookupError, OSError) as error:
        return [*checks, Check("loads with transformers", False, str(error))]
    checks.append(Check("loads with transformers", True, "no missing and no unexpected tensor"))
    return [*checks, *_model_checks(model, promise), _tokenizer_check(folder, promise)]


def probe_prompt(model: PreTrainedModel) -> Int[Tensor, "1 seq"]:
    """Return fixed token ids, longer than a sliding window where the model has one and room allows."""
    config: Any = model.config
    reach = window(config)
    room = (getattr(config, "max_position_embeddings", None) or 4096) - _NEW_TOKENS
    length = max(2, min(max(_PROBE_TOKENS, reach + 16 if reach <= 1024 else 0), room))
    generator = torch.Generator().manual_seed(0)
    return torch.randint(int(config.vocab_size), (1, length), generator=generator)


def probe_logits(model: PreTrainedModel) -> list[float]:
    """Return up to 256 evenly spaced logits of the probe prompt's last position.

    Of a classifier they are those of its classes, and of a model without a head the last hidden state.
    """
    options = {"use_cache": False} if architecture_of(model).causal else {}
    with torch.inference_mode():
        result = model(probe_prompt(model).to(model.device), **options)
    found: Tensor = result.logits if hasattr(result, "logits") else result.last_hidden_state
    last: Float[Tensor, " vocab"] = found[0].reshape(-1, found.shape[-1])[-1]
    return last[:: max(1, len(last) // 256)].float().tolist()


def greedy(model: PreTrainedModel, *, cached: bool) -> list[int]:
    """Return the greedy continuation of the probe prompt, with or without the key/value cache."""
    ids = probe_prompt(model).to(model.device)
    start, cache, step = ids.shape[1], None, ids
    with torch.inference_mode():
        for _ in range(_NEW_TOKENS):
            result = model(step, cache=cache, use_cache=cached)
            token = result.logits[:, -1:].argmax(-1)
            ids = torch.cat([ids, token], 1)
            cache, step = (result.cache, token) if cached else (None, ids)
    return ids[0, start:].tolist()


def _stored(model: PreTrainedModel) -> dict[str, Tensor]:
    """Return the tensors that a checkpoint stores: all but the tied copies."""
    tied = set(getattr(model, "all_tied_weights_keys", None) or {})
    return {name: tensor for name, tensor in model.state_dict().items() if name not in tied}


def _digests(files: Sequence[Path]) -> dict[str, str]:
    """Return the digest of each tensor in safetensors files."""
    found: dict[str, str] = {}
    for path in files:
        with safe_open(path, framework="pt") as handle:
            for name in handle.keys():  # noqa: SIM118 - safe_open is no mapping
                found |= digest_tensors({name: handle.get_tensor(name)})
    return found


def _no_code(folder: Path) -> Check:
    """Check that nothing in the folder could run code when it is loaded."""
    code = [path.name for path in sorted(folder.iterdir()) if path.suffix in _CODE]
    settings = sorted(folder.glob("*config.json"))
    code += [path.name for path in settings if '"auto_map"' in path.read_text(encoding="utf-8")]
    return Check("no pickle and no remote code", not code, ", ".join(code) or "safetensors only")


def _configuration_check(folder: Path, promise: Mapping[str, Any]) -> Check:
    """Check the configuration's bytes: a kind of layer that differs only beyond the probe shows here."""
    path = folder / "config.json"
    same = path.is_file() and digest_path(path) == promise["configuration"]
    return Check("configuration", same, f"{path.name} {'as' if same else 'is not as'} it was written")


def _tensor_check(name: str, expected: Mapping[str, str], found: Mapping[str, str], *, exact: bool) -> Check:
    """Check digests by name; `exact` also refuses tensors that nobody expects.

    Unless `exact`, a tied copy is expected under its own name though it is stored once.
    """
    values = set() if exact else set(found.values())
    wrong = [
        k for k, digest in expected.items() if found.get(k, digest if digest in values else None) != digest
    ]
    extra = [k for k in found if k not in expected] if exact else []
    detail = f"{len(expected)} tensors" if not wrong and not extra else f"differ: {(wrong + extra)[:3]}"
    return Check(name, not wrong and not extra, detail)


def _model_checks(model: PreTrainedModel, promise: Mapping[str, Any]) -> list[Check]:
    """Check depth, size, logits, the cache and tied weights of a loaded model."""
    logits, expected = torch.tensor(probe_logits(model)), torch.tensor(promise["logits"])
    distance = float((logits - expected).abs().max() / expected.abs().max().clamp(min=1e-6))
    tolerance = max(LOGIT_TOLERANCE, 4 * torch.finfo(model.dtype).eps)
    size = parameter_count(model), parameter_bytes(model)
    # In half precision a near tie of two tokens can fall either way, and would look like a broken cache.
    typed: Any = model
    typed.float()
    layers = len(promise["layer_map"])
    return [
        Check("depth", len(blocks(model)) == layers == depth(model.config), f"{layers} layers"),
        Check(
            "parameters", size == (promise["parameters"], promise["bytes"]), f"{size[0]:,}, {size[1]:,} bytes"
        ),
        Check("logits", distance <= tolerance, f"largest relative difference {distance:.1e}"),
        _cache_check(model),
        _tie_check(typed),
    ]


def _cache_check(model: PreTrainedModel) -> Check:
    """Check that the cache changes no token."""
    if not architecture_of(model).causal:
        return Check("cache", True, "an encoder has none")
    try:
        cached, uncached = greedy(model, cached=True), greedy(model, cached=False)
    except (IndexError, RuntimeError) as error:
        # A layer has no place in the cache, or shares one with another and finds too many keys there.
        return Check("cache", False, f"a layer does not find its place: {error}")
    return Check("cache", cached == uncached, f"{len(cached)} greedy tokens with and without the cache")


def _tie_check(model: Any) -> Check:
    """Check that the head is tied to the embedding exactly when the configuration says so."""
    head = model.get_output_embeddings()
    if head is None:
        return Check("tied weights", True, "there is no head over the vocabulary")
    tied = head.weight is model.get_input_embeddings().weight
    wanted = bool(getattr(model.config, "tie_word_embeddings", False))
    return Check("tied weights", tied == wanted, f"tied {tied}, configuration says {wanted}")


def _tokenizer_check(folder: Path, promise: Mapping[str, Any]) -> Check:
    """Check that the tokenizer loads and gives a text back."""
    if not promise["tokenizer"]:
        return Check("tokenizer", True, "none was given")
    try:
        tokenizer: Any = load_tokenizer(str(folder))
    except FileNotFoundError as error:
        return Check("tokenizer", False, str(error))
    text = "layers of a model"
    back = tokenizer.decode(tokenizer(text, add_special_tokens=False).input_ids)
    return Check("tokenizer", back.strip() == text, f"round trip gives {back!r}")


def layer_map(folder: Path, layers: int) -> list[int]:
    """Return the old number of each layer of a checkpoint; the identity where it was never pruned."""
    path = folder / CERTIFICATE
    return [int(layer) for layer in read_json(path)["layer_map"]] if path.is_file() else list(range(layers))
