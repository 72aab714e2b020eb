"""The checks of a checkpoint folder against what its certificate promises."""

import inspect
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from transformers import PreTrainedModel

from avss_core.files.shards import stored_tensors
from avss_core.models.architectures import ARCHITECTURES, architecture_of, blocks, depth
from avss_core.models.loading import empty_model, load_config, load_model, load_tokenizer
from avss_core.models.sizes import parameter_bytes, parameter_count, stored_state
from avss_core.surgery.certificate_records import Promise
from avss_core.surgery.file_checks import Check, file_checks
from avss_core.surgery.probe import greedy, in_float32, probe_logits

LOGIT_TOLERANCE = 1e-3
"""Largest difference of a logit between the writer's and the reader's machine, relative to the largest logit.

In half precision it is at least four of the dtype's steps at 1.
"""
NEED_WEIGHTS = ("logits", "cache")
"""Names of the checks that run the model, for which its weights must be in memory."""


def check_folder(folder: Path, promise: Promise, *, logits: bool = True) -> tuple[list[Check], list[float]]:
    """Return the checks of a folder, and its logits, which are empty if the model is not loaded.

    Tensors are compared one by one. Memory: the model once, in its own dtype; the largest tensor if `logits`
    is false.

    Args:
        folder: a checkpoint.
        promise: content of its certificate.
        logits: whether the model is loaded and run; otherwise the names and shapes of its tensors are
            compared, and the checks of `NEED_WEIGHTS` are left out.
    """
    checks, whole = file_checks(folder, promise)
    if not whole:
        return checks, []
    name, dtype = "loads with transformers", promise["dtype"]
    try:
        model = load_model(str(folder), dtype=dtype) if logits else _shapes(folder, dtype)
    except (ValueError, LookupError, OSError) as error:
        return [*checks, Check(name, False, str(error))], []
    how = "no missing and no unexpected tensor" + ("" if logits else ", by name and shape; not loaded")
    checks += [Check(name, True, how), *_size_checks(model, promise)]
    measured = probe_logits(model) if logits else []
    if logits:
        checks += [_logit_check(measured, promise["logits"], model.dtype), cache_check(model)]
    return [*checks, _tie_check(model), _tokenizer_check(folder, promise)], measured


def _shapes(folder: Path, dtype: str) -> PreTrainedModel:
    """Return the model of a folder without its weights.

    Raises:
        ValueError: the files do not hold exactly its tensors.
        OSError: a file is missing.
        LookupError: the model family is not supported.
    """
    model = empty_model(load_config(str(folder)), dtype)
    wanted = {name: tuple(tensor.shape) for name, tensor in stored_state(model).items()}
    stored = {name: tensor.shape for name, tensor in stored_tensors(folder).items()}
    wrong = sorted(name for name in wanted.keys() | stored.keys() if wanted.get(name) != stored.get(name))
    if wrong:
        raise ValueError(f"{folder} does not hold exactly the tensors of its architecture: {wrong[:3]}")
    return model


def _size_checks(model: PreTrainedModel, promise: Promise) -> list[Check]:
    """Check depth and size of a model, which needs no weights."""
    layers, size = len(promise["layer_map"]), (parameter_count(model), parameter_bytes(model))
    promised = promise["parameters"], promise["bytes"]
    return [
        Check("depth", len(blocks(model)) == layers == depth(model.config), f"{layers} layers"),
        Check("parameters", size == promised, f"{size[0]:,}, {size[1]:,} bytes"),
    ]


def _logit_check(measured: Sequence[float], promised: Sequence[float] | None, dtype: torch.dtype) -> Check:
    """Check logits against those promised; they must be finite if none were recorded."""
    logits = torch.tensor(measured)
    wrong = int((~logits.isfinite()).sum())
    if wrong:
        detail = f"{wrong} of {len(measured)} are NaN or infinite: weights are, or {dtype} overflows"
        return Check("logits", False, detail)
    if promised is None:
        detail = f"{len(measured)} finite ones; the model was not in memory when it was written"
        return Check("logits", True, detail)
    distance = _distance(logits, torch.tensor(promised))
    tolerance = max(LOGIT_TOLERANCE, 4 * torch.finfo(dtype).eps)
    return Check("logits", distance <= tolerance, f"largest relative difference {distance:.1e}")


def cache_check(model: PreTrainedModel) -> Check:
    """Check that the cache changes no token and no logit.

    A model that repeats itself says the same tokens through a broken cache; its logits do not.
    """
    if not architecture_of(model).causal:
        return Check("cache", True, "an encoder has none")
    if "cache" not in inspect.signature(model.forward).parameters:
        return Check("cache", True, f"{model.config.model_type} models take none")
    try:
        # In half precision a near tie of two tokens can fall either way, and would look like a broken cache.
        with in_float32(model):
            cached, uncached = greedy(model, cached=True), greedy(model, cached=False)
    except (AttributeError, IndexError, RuntimeError, ValueError) as error:
        # A layer has no place in the cache, or finds another's keys there, or none left counts tokens.
        return Check("cache", False, f"the model does not run with it: {error}")
    if not uncached.logits.isfinite().all():
        return Check("cache", False, "not compared: without it logits are NaN or infinite too")
    distance = _distance(cached.logits, uncached.logits)
    same = cached.tokens == uncached.tokens and distance <= LOGIT_TOLERANCE
    detail = f"{len(cached.tokens)} greedy tokens with and without the cache"
    return Check("cache", same, f"{detail}, logits differ by {distance:.1e} at most")


def refuse_unfit(model: PreTrainedModel) -> None:
    """Refuse a model of a family that is not known, before work, if its cache fails with all layers.

    Raises:
        ValueError: what a checkpoint of it must hold to be certified does not hold of the model itself.
    """
    model_type = model.config.model_type
    if model_type in ARCHITECTURES:
        return
    check = cache_check(model)
    if not check.passed:
        raise ValueError(
            f"{model_type} models cannot be certified in this version of transformers: the cache changes "
            f"what the model says with all its layers ({check.detail})"
        )


def _distance(measured: torch.Tensor, expected: torch.Tensor) -> float:
    """Return the largest difference relative to the largest expected value."""
    return float((measured - expected).abs().max() / expected.abs().max().clamp(min=1e-6))


def _tie_check(model: Any) -> Check:
    """Check that the head is tied to the embedding exactly when the configuration says so."""
    head = model.get_output_embeddings()
    if head is None:
        return Check("tied weights", True, "there is no head over the vocabulary")
    tied = head.weight is model.get_input_embeddings().weight
    wanted = bool(getattr(model.config, "tie_word_embeddings", False))
    return Check("tied weights", tied == wanted, f"tied {tied}, configuration says {wanted}")


def _tokenizer_check(folder: Path, promise: Promise) -> Check:
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
