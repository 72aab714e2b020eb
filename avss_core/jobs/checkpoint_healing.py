"""Heal the pruned checkpoint by distillation from the dense one, and write the merged result."""

from collections.abc import Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

from avss_core.caching.loaded_model import model_at
from avss_core.display.steps import working
from avss_core.files.digests import digest_json, digest_tensors
from avss_core.files.writing import folder_written_whole
from avss_core.jobs.job_records import HealingTraining
from avss_core.jobs.mixture import Mixture, OwnText, mixed, shortages
from avss_core.jobs.mixture_settings import mixture
from avss_core.jobs.watched_training import Curves, Say, no_curves, run_training
from avss_core.models.architectures import context_length, depth, reads_both_ways
from avss_core.models.layers import known_layers
from avss_core.models.placement import refuse_spread
from avss_core.settings.params import Params
from avss_core.surgery.certificate import write_certified
from avss_core.surgery.numbering import layer_map
from avss_core.training.encoders.encoder_healing import EncoderDistillation
from avss_core.training.healing import Distillation, HealingSettings
from avss_core.training.lora import tensors_outside
from avss_core.training.processes import leads


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
    own: OwnText,
    folder: Path,
    resume: Path,
    provenance: Mapping[str, Any],
    replace: bool,
    say: Say,
    curves: Curves = no_curves,
) -> tuple[HealingTraining, dict[str, float | None]]:
    """Write the healed checkpoint; return the record of its training, and its times and memory.

    Of processes that share the training the first one writes.

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
        own: text that the dense model wrote.
        folder: where the checkpoint goes.
        resume: folder from which a stopped training resumes; the caller removes it.
        provenance: recorded in the certificate.
        replace: whether to overwrite an existing checkpoint.
        say: called with the estimate, a line for each validation, and one for each shortage of text.
        curves: opens the curves of the training.
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
        tokenizer, prepared, sets, mixture, context_length(pruned.config), encoder=encoder, own=own
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
        )
    for line in shortages(train, "heal"):
        say(line)
    trained = run_training(
        "heal",
        pruned,
        objective,
        chosen,
        objective.settings,
        resume=resume,
        inputs=[student, teacher],
        say=say,
        curves=curves,
    )
    if leads():
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


def healing_settings(params: Params) -> dict[str, Any]:
    """Return the data and settings of the training, as arguments of `heal_model`."""
    options = params.heal
    names = {field.name for field in fields(HealingSettings)}
    training = options.model_dump(include=names) | {"seed": params.seed}
    return {
        **params.machine,
        "mixture": mixture(params, options),
        "layers": options.layers,
        "settings": training,
    }
