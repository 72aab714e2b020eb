"""Heal the pruned checkpoint by distillation from the dense one, and write the merged result."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from prefect import task
from prefect.logging import get_logger

from avss_core.files.digests import digest_json, digest_tensors
from avss_core.files.writing import folder_written_whole
from avss_core.models.architectures import context_length, depth, reads_both_ways
from avss_core.models.layers import known_layers
from avss_core.models.placement import refuse_spread
from avss_core.surgery.certificate import write_certified
from avss_core.surgery.numbering import layer_map
from avss_core.training.encoders.encoder_healing import EncoderDistillation
from avss_core.training.healing import Distillation, HealingSettings
from avss_core.training.lora import tensors_outside
from tasks.cache.loaded_model import model_at
from tasks.progress.steps import working
from tasks.records import HealingTraining
from tasks.training.mixture import Mixture, mixed, shortages
from tasks.training.watched_training import Say, run_training


@task(name="heal-model")
def heal_model(
    student: Path,
    teacher: Path,
    prepared: Path,
    sets: Sequence[str],
    mixture: Mixture,
    *,
    dtype: str,
    device: str,
    layers: Sequence[int] | None,
    settings: Mapping[str, Any],
    folder: Path,
    resume: Path,
    provenance: Mapping[str, Any],
    replace: bool,
    say: Say | None = None,
) -> tuple[HealingTraining, dict[str, float | None]]:
    """Write the healed checkpoint; return the record of its training, and its times and memory.

    Args:
        student: folder of the pruned checkpoint.
        teacher: folder of the dense one.
        prepared: folder of the prepared rows and text.
        sets: question sets to learn from.
        mixture: amounts and kinds of text to learn from.
        dtype: dtype of both models.
        device: device of both models.
        layers: layers to train, numbered as in the student; None for all.
        settings: fields of `avss_core.training.healing.HealingSettings`.
        folder: where the checkpoint goes.
        resume: folder from which a stopped training resumes; the caller removes it.
        provenance: recorded in the certificate.
        replace: whether to overwrite an existing checkpoint.
        say: called with the estimate and a line for each validation; None for the log.
    """
    dense, _ = model_at(teacher, dtype, device)
    pruned, tokenizer = model_at(student, dtype, device)
    for each in (dense, pruned):
        refuse_spread(each, "healing")
    count = depth(pruned.config)
    numbers = layer_map(student, count)
    chosen = known_layers(range(count) if layers is None else layers, count)
    encoder = reads_both_ways(pruned.config)
    train, validation = mixed(
        tokenizer, prepared, sets, mixture, context_length(pruned.config), encoder=encoder
    )
    options = HealingSettings(**settings)
    objective: Distillation | EncoderDistillation
    if encoder:
        mask = tokenizer.mask_token_id
        objective = EncoderDistillation(pruned, dense, train.ids, validation.ids, options, numbers, mask)
    else:
        objective = Distillation(
            pruned,
            dense,
            train.ids,
            validation.ids,
            options,
            layer_map=numbers,
            answers={**train.answers, **validation.answers},
            labels={**train.labels, **validation.labels},
        )
    for line in shortages(train, "heal"):
        (say or get_logger("training").warning)(line)
    trained = run_training(
        "heal",
        pruned,
        objective,
        chosen,
        objective.settings,
        resume=resume,
        inputs=[student, teacher],
        say=say,
    )
    with (
        working(f"writing {folder.name} and checking it"),
        folder_written_whole(folder, replace=replace) as part,
    ):
        write_certified(
            trained.model,
            tokenizer,
            part,
            source=digest_tensors(tensors_outside(pruned, chosen)),
            layer_map=numbers,
            provenance=provenance,
        )
    record: HealingTraining = {
        "layers": chosen,
        "dense_layers": [numbers[layer] for layer in chosen],
        "train": train.counts,
        "validation": validation.counts,
        "windows": digest_json([train.ids, validation.ids]),
        **trained.record,
    }
    return record, trained.machine
