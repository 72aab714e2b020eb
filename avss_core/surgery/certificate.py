"""A checkpoint that proves itself: what was promised when it was written, checked by a fresh process."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, cast

from torch import Tensor
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from avss_core.files.digests import digest_path, digest_tensors
from avss_core.files.shards import MAX_SHARD_SIZE
from avss_core.files.writing import read_json, write_json
from avss_core.models.older_keys import oldest_version
from avss_core.models.saving import save_checkpoint, save_tokenizer
from avss_core.models.sizes import parameter_bytes, parameter_count, stored_state
from avss_core.surgery.certificate_records import Certificate, CheckRecord, Promise, Provenance
from avss_core.surgery.checkpoints import CopyPlan, write_copy
from avss_core.surgery.checks import NEED_WEIGHTS, check_folder
from avss_core.surgery.file_checks import Check
from avss_core.surgery.fresh_process import inspect_afresh
from avss_core.surgery.numbering import CERTIFICATE as CERTIFICATE  # the name of what this module writes
from avss_core.surgery.probe import probe_logits
from avss_core.surgery.pruning import pruned_state


def write_certified(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase | None,
    folder: Path,
    *,
    source: Mapping[str, str],
    layer_map: Sequence[int],
    provenance: Mapping[str, Any],
    refitted: Sequence[str] | None = None,
) -> Certificate:
    """Write a checkpoint and its certificate, and return the certificate.

    Args:
        model: what is written.
        tokenizer: saved beside it, if given.
        folder: an empty folder; the caller moves it to its place after success.
        source: digest of the source tensor that each named tensor must equal to the bit; trained tensors are
            left out.
        layer_map: old number of each layer, in new depth order.
        provenance: where the model comes from, as JSON values.
        refitted: names of the tensors that repair changed; every other one must be in `source`. None for a
            checkpoint that is not a repaired one.

    Raises:
        ValueError: a check failed in the fresh process; names the checks.
    """
    save_checkpoint(model, tokenizer, folder)
    return _certified(
        folder,
        model,
        tokenizer=tokenizer is not None,
        source=source,
        tensors=digest_tensors(stored_state(model)),
        layer_map=layer_map,
        provenance=provenance,
        refitted=refitted,
        way="written from memory",
        written_logits=probe_logits(model),
    )


def write_certified_copy(
    plan: CopyPlan,
    tokenizer: PreTrainedTokenizerBase | None,
    folder: Path,
    *,
    layer_map: Sequence[int],
    provenance: Mapping[str, Any],
    max_shard_size: int | str = MAX_SHARD_SIZE,
    logits: bool = True,
) -> Certificate:
    """Copy a pruned checkpoint out of its source and certify it, and return the certificate.

    The model was never in memory, so there are no logits to compare with: the fresh process compares every
    tensor with its source, and its logits are recorded for later checks.

    Args:
        plan: what is copied.
        tokenizer: as in `write_certified`.
        folder: as in `write_certified`.
        layer_map: as in `write_certified`.
        provenance: as in `write_certified`.
        max_shard_size: bytes of a file, at most.
        logits: whether the fresh process loads and runs the model, for which it needs memory for all of it;
            otherwise the certificate says which checks were left out.

    Raises:
        ValueError: a check failed in the fresh process; names the checks.
    """
    digests = write_copy(plan, folder, max_shard_size)
    save_tokenizer(tokenizer, folder)
    return _certified(
        folder,
        plan.model,
        tokenizer=tokenizer is not None,
        source=digests,
        tensors=digests,
        layer_map=layer_map,
        provenance=provenance,
        way="copied tensor by tensor",
        written_logits=None,
        logits=logits,
    )


def kept_source(state: Mapping[str, Tensor], path: str, kept: Sequence[int]) -> dict[str, str]:
    """Return the digest that each tensor of a pruned model must have, by its new name."""
    return digest_tensors(pruned_state(state, path, kept))


def verify(folder: Path | str, *, logits: bool = True) -> list[Check]:
    """Return the checks of a certified checkpoint, made by a fresh process.

    Args:
        folder: the checkpoint.
        logits: whether the model is loaded and run, for which its weights must fit into memory once, in
            their own dtype; otherwise `NEED_WEIGHTS` are left out, and memory is that of the largest tensor.

    Raises:
        FileNotFoundError: the folder is not a certified checkpoint.
        ChildProcessError: the process was killed.
    """
    folder = Path(folder)
    if not (folder / CERTIFICATE).is_file():
        raise FileNotFoundError(f"{folder} has no {CERTIFICATE}: it is not a checkpoint that avss wrote")
    return inspect_afresh(folder, logits=logits)[0]


def inspect_with_logits(folder: Path, *, logits: bool = True) -> tuple[list[Check], list[float]]:
    """Return the checks of a certified checkpoint and its logits, made in this process.

    The logits are empty if the model is not loaded.
    """
    return check_folder(folder, read_json(folder / CERTIFICATE), logits=logits)


def _certified(
    folder: Path,
    model: PreTrainedModel,
    *,
    tokenizer: bool,
    source: Mapping[str, str],
    tensors: dict[str, str],
    layer_map: Sequence[int],
    provenance: Mapping[str, Any],
    way: str,
    written_logits: list[float] | None,
    refitted: Sequence[str] | None = None,
    logits: bool = True,
) -> Certificate:
    """Write the certificate of a checkpoint after a fresh process has checked it, and return it."""
    promise: Promise = {
        "parameters": parameter_count(model),
        "bytes": parameter_bytes(model),
        "dtype": str(model.dtype).removeprefix("torch."),
        "layer_map": list(layer_map),
        "tokenizer": tokenizer,
        "source_tensors": dict(source),
        "tensors": tensors,
        "logits": written_logits,
        "provenance": cast(Provenance, dict(provenance)),
        "way": way,
        "configuration": digest_path(folder / "config.json"),
        "transformers": oldest_version(model.config),
    }
    if refitted is not None:
        promise["refitted"] = sorted(refitted)
    write_json(folder / CERTIFICATE, promise)
    checks, measured = inspect_afresh(folder, logits=logits)
    failed = [f"{check.name} ({check.detail})" for check in checks if not check.passed]
    if failed:
        raise ValueError(f"the checkpoint does not hold what it promises: {'; '.join(failed)}")
    certificate: Certificate = {
        **promise,
        "logits": written_logits or measured or None,
        "checks": [cast(CheckRecord, asdict(check)) for check in checks],
        "left_out": [] if logits else list(NEED_WEIGHTS),
    }
    write_json(folder / CERTIFICATE, certificate)
    return certificate
