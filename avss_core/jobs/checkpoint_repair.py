"""Repair the pruned checkpoint in closed form towards the dense one, and write the result."""

import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from transformers import PreTrainedModel

from avss_core.caching.content import content_digest
from avss_core.caching.fingerprints import fingerprint
from avss_core.caching.loaded_model import model_at
from avss_core.display.steps import progress, working
from avss_core.files.digests import digest_json, digest_tensors
from avss_core.files.writing import folder_written_whole
from avss_core.jobs.job_records import RefitProjection, RepairFit
from avss_core.jobs.mixture import Mixture, OwnText, mixed, shortages
from avss_core.jobs.mixture_settings import mixture
from avss_core.jobs.watched_training import Say
from avss_core.models.architectures import context_length, depth, reads_both_ways
from avss_core.models.batches import Batch, by_length, pad
from avss_core.models.refusals import refuse_four_bit
from avss_core.models.room import BatchSize, with_room
from avss_core.models.views import sharing_copy
from avss_core.settings.params import Params
from avss_core.surgery.certificate import write_certified
from avss_core.surgery.numbering import layer_map
from avss_core.surgery.repair.kept_refits import read_refits, write_refit
from avss_core.surgery.repair.refitting import Refit
from avss_core.surgery.repair.repair import passes, refits, refits_attention


@dataclass(frozen=True)
class RepairOptions:
    """How blocks are refitted; the fields are those of `avss_core.surgery.repair.repair.refits`."""

    attention: bool
    anticipation: float
    batch_size: BatchSize


def repair_model(
    pruned: Path,
    teacher: Path,
    prepared: Path,
    sets: Sequence[str],
    mixture: Mixture,
    options: RepairOptions,
    *,
    dtype: str,
    device: str,
    own: OwnText,
    folder: Path,
    resume: Path,
    provenance: Mapping[str, Any],
    replace: bool,
    say: Say,
) -> RepairFit:
    """Write the repaired checkpoint, and return what was refitted.

    Args:
        pruned: folder of the pruned checkpoint.
        teacher: folder of the dense one.
        prepared: folder of the prepared rows and text.
        sets: question sets to learn from.
        mixture: amounts and kinds of text to learn from.
        options: how blocks are refitted.
        dtype: dtype of both models.
        device: device of both models.
        own: text that the dense model wrote.
        folder: where the checkpoint goes.
        resume: folder of finished blocks, from which a stopped repair goes on; the caller removes it.
        provenance: recorded in the certificate.
        replace: whether to overwrite an existing checkpoint.
        say: called with a line for each shortage of text.
    """
    dense, _ = model_at(teacher, dtype, device)
    source, tokenizer = model_at(pruned, dtype, device)
    refuse_four_bit(source.config, "repaired")
    kept, layers = layer_map(pruned, depth(source.config)), depth(dense.config)
    encoder = reads_both_ways(source.config)
    windows, _ = mixed(
        tokenizer,
        prepared,
        sets,
        mixture,
        context_length(source.config),
        encoder=encoder,
        scored_too=True,
        own=own,
    )
    for line in shortages(windows, "repair"):
        say(line)
    known = [content_digest(pruned), content_digest(teacher), digest_json([windows.ids]), repr(options)]
    rooms = resume / digest_json([known, fingerprint(refits.__module__)])[:16]

    def repair(size: int) -> tuple[PreTrainedModel, list[Refit]]:
        order = by_length(windows.ids, size)
        batches = [pad([windows.ids[i] for i in chosen]) for chosen in order]
        repaired = sharing_copy(source)
        return repaired, list(_refitted(repaired, dense, kept, layers, batches, options, rooms))

    repaired, done = with_room(source, options.batch_size, max(map(len, windows.ids), default=1), repair)
    changed = sorted(name for refit in done for name in refit.tensors)
    with (
        working(f"writing {folder.name} and checking it"),
        folder_written_whole(folder, replace=replace) as part,
    ):
        write_certified(
            repaired,
            tokenizer,
            part,
            source=digest_tensors(
                {name: tensor for name, tensor in source.state_dict().items() if name not in changed}
            ),
            refitted=changed,
            layer_map=kept,
            provenance=provenance,
        )
    return {
        "windows": windows.counts,
        "text": digest_json([windows.ids]),
        "tokens": sum(map(len, windows.ids)),
        "projections": [each for refit in done for each in _records(refit, kept)],
    }


def repair_settings(params: Params) -> dict[str, Any]:
    """Return the data and settings of the repair, as arguments of `repair_model`."""
    options = params.repair
    return {
        **params.machine,
        "mixture": mixture(params, options),
        "options": RepairOptions(
            attention=options.attention,
            anticipation=options.anticipation,
            batch_size=options.batch_size,
        ),
    }


def _refitted(
    repaired: PreTrainedModel,
    dense: PreTrainedModel,
    kept: Sequence[int],
    layers: int,
    batches: Sequence[Batch],
    options: RepairOptions,
    rooms: Path,
) -> Iterator[Refit]:
    """Yield each block's refit, made now or found in a folder of finished blocks."""
    attention = options.attention and refits_attention(repaired)
    blocks = passes(kept, layers, attention=attention, anticipation=options.anticipation)
    count = blocks * sum(len(batch.ids) for batch in batches)
    with _room(rooms), progress("repair", count, "windows through a block") as advance:
        finished = read_refits(rooms)
        known = {each.layer for each in finished}
        for refit in refits(
            repaired,
            dense,
            kept,
            batches,
            attention=options.attention,
            anticipation=options.anticipation,
            known=finished,
            folder=rooms,
            progress=advance,
        ):
            if refit.layer not in known:
                write_refit(rooms, refit)
            yield refit


@contextmanager
def _room(folder: Path) -> Iterator[None]:
    """Make a folder for finished blocks, removed if none is; blocks of other repairs are removed."""
    for other in folder.parent.glob("*"):
        if other != folder:
            shutil.rmtree(other, ignore_errors=True)
    folder.mkdir(parents=True, exist_ok=True)
    try:
        yield
    finally:
        for each in (folder, folder.parent):
            with suppress(OSError):  # a finished block is in it
                each.rmdir()


def _records(refit: Refit, kept: Sequence[int]) -> list[RefitProjection]:
    """Return what was changed in a block, one record a projection."""
    return [
        {
            "layer": refit.layer,
            "dense_layer": kept[refit.layer],
            "projection": name,
            "ridge": ridge,
            "error": refit.errors[name],
        }
        for name, ridge in refit.ridges.items()
    ]
