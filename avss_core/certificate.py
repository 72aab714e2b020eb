"""A checkpoint that proves itself: what was promised when it was written, checked by a fresh process."""

import multiprocessing
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, TypeVar

import torch
from jaxtyping import Float, Int
from safetensors import SafetensorError, safe_open
from torch import Tensor
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from avss_core.architectures import architecture_of, blocks, depth, window
from avss_core.checkpoints import CopyPlan, write_copy
from avss_core.digests import digest_path, digest_tensors, read_json, write_json
from avss_core.models import load_model, load_tokenizer, save_checkpoint, save_tokenizer
from avss_core.pruning import check_layers, parameter_bytes, parameter_count, pruned_state
from avss_core.shards import MAX_SHARD_SIZE

_Result = TypeVar("_Result")

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
    return _certified(
        folder,
        _sizes(model)
        | {
            "layer_map": list(layer_map),
            "tokenizer": tokenizer is not None,
            "source_tensors": dict(source),
            "tensors": digest_tensors(_stored(model)),
            "logits": probe_logits(model),
            "provenance": dict(provenance),
            "way": "written from memory",
        },
    )


def write_certified_copy(
    plan: CopyPlan,
    tokenizer: PreTrainedTokenizerBase | None,
    folder: Path,
    *,
    layer_map: Sequence[int],
    provenance: Mapping[str, Any],
    max_shard_size: int | str = MAX_SHARD_SIZE,
) -> dict[str, Any]:
    """Copy a pruned checkpoint out of its source and certify it, and return the certificate.

    The model was never in memory, so there are no logits to compare with: the fresh process compares every
    tensor with its source, and its logits are recorded for later checks.

    Args:
        plan: what is copied.
        tokenizer: saved beside it where there is one.
        folder: an empty folder; the caller moves it to its place after success.
        layer_map: old number of each layer, in new depth order.
        provenance: where the model comes from, as JSON values.
        max_shard_size: bytes of a file, at most.

    Raises:
        ValueError: a check failed in the fresh process; names the checks.
    """
    digests = write_copy(plan, folder, max_shard_size)
    save_tokenizer(tokenizer, folder)
    return _certified(
        folder,
        _sizes(plan.model)
        | {
            "layer_map": list(layer_map),
            "tokenizer": tokenizer is not None,
            "source_tensors": digests,
            "tensors": digests,
            "logits": None,
            "provenance": dict(provenance),
            "way": "copied tensor by tensor",
        },
    )


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
    return _in_fresh_process(inspect, folder)


def inspect(folder: Path) -> list[Check]:
    """Return the checks of a certified checkpoint, made in this process."""
    return inspect_with_logits(folder)[0]


def inspect_with_logits(folder: Path) -> tuple[list[Check], list[float]]:
    """Return the checks of a certified checkpoint, and its logits; none where it does not load."""
    promise = read_json(folder / CERTIFICATE)
    checks, model = _file_checks(folder, promise)
    if model is None:
        return checks, []
    logits = probe_logits(model)
    return [*checks, *_model_checks(model, promise, logits), _tokenizer_check(folder, promise)], logits


def _file_checks(folder: Path, promise: Mapping[str, Any]) -> tuple[list[Check], PreTrainedModel | None]:
    """Return the checks of the files, and the model that they hold where it loads."""
    checks = [_no_code(folder), _configuration_check(folder, promise)]
    try:
        found = _digests(sorted(folder.glob("*.safetensors")))
    except SafetensorError as error:
        return [*checks, Check("stored tensors", False, f"a file is damaged: {error}")], None
    checks.append(_tensor_check("stored tensors", promise["tensors"], found, exact=True))
    if not checks[-1].passed:
        return checks, None
    checks.append(_tensor_check("tensors equal to the source", promise["source_tensors"], found, exact=False))
    try:
        model = load_model(str(folder), dtype=promise["dtype"])
    except (ValueError, LookupError, OSError) as error:
        return [*checks, Check("loads with transformers", False, str(error))], None
    return [*checks, Check("loads with transformers", True, "no missing and no unexpected tensor")], model


def _sizes(model: PreTrainedModel) -> dict[str, Any]:
    """Return what is promised of a model's size."""
    return {
        "parameters": parameter_count(model),
        "bytes": parameter_bytes(model),
        "dtype": str(model.dtype).removeprefix("torch."),
    }


def _certified(folder: Path, content: Mapping[str, Any]) -> dict[str, Any]:
    """Write the certificate of a checkpoint after a fresh process has checked it, and return it."""
    promise = {**content, "configuration": digest_path(folder / "config.json")}
    write_json(folder / CERTIFICATE, promise)
    if promise["logits"] is None:
        checks, promise["logits"] = _in_fresh_process(inspect_with_logits, folder)
    else:
        checks = verify(folder)
    failed = [f"{check.name} ({check.detail})" for check in checks if not check.passed]
    if failed:
        raise ValueError(f"the checkpoint does not hold what it promises: {'; '.join(failed)}")
    certificate = promise | {"checks": [asdict(check) for check in checks]}
    write_json(folder / CERTIFICATE, certificate)
    return certificate


def _in_fresh_process(function: Callable[[Path], _Result], folder: Path) -> _Result:
    """Return what a function says of a folder in a process that has seen nothing of it.

    Raises:
        ChildProcessError: the process was killed.
    """
    try:
        with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as fresh:
            return fresh.submit(function, folder).result()
    except BrokenProcessPool as error:
        raise ChildProcessError(
            "the process that loads the checkpoint to check it was killed, most likely for memory: it needs "
            "room for the whole model, in float32 at the end"
        ) from error


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


def _logit_check(found: Sequence[float], promised: Sequence[float] | None, dtype: torch.dtype) -> Check:
    """Check logits against those promised; before any were recorded they must be finite."""
    logits = torch.tensor(found)
    if promised is None:
        detail = f"{len(found)} finite ones recorded; the model was not in memory when it was written"
        return Check("logits", bool(logits.isfinite().all()), detail)
    expected = torch.tensor(promised)
    distance = float((logits - expected).abs().max() / expected.abs().max().clamp(min=1e-6))
    tolerance = max(LOGIT_TOLERANCE, 4 * torch.finfo(dtype).eps)
    return Check("logits", distance <= tolerance, f"largest relative difference {distance:.1e}")


def _model_checks(model: PreTrainedModel, promise: Mapping[str, Any], logits: Sequence[float]) -> list[Check]:
    """Check depth, size, logits, the cache and tied weights of a loaded model; it is float32 afterwards."""
    logit_check = _logit_check(logits, promise["logits"], model.dtype)
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
        logit_check,
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


def check_own_layers(removed: Sequence[int], numbers: Sequence[int]) -> list[int]:
    """Return the numbers of layers to remove in depth order; they are the checkpoint's own.

    Args:
        removed: layers that shall go.
        numbers: old number of each layer, as of `layer_map`.

    Raises:
        ValueError: the numbers do not fit; says what they are where the checkpoint was pruned before.
    """
    try:
        return check_layers(removed, len(numbers))
    except ValueError as error:
        if list(numbers) == list(range(len(numbers))):
            raise
        raise ValueError(
            f"{error}. The checkpoint was pruned before: its layers 0 to {len(numbers) - 1} were "
            f"{', '.join(map(str, numbers))} in the dense model, the others are gone. Name layers by their "
            "number in the checkpoint"
        ) from error
