"""Heal the pruned checkpoint by distillation from the dense one, and write the merged result."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from prefect import task
from prefect.logging import get_logger
from transformers import PreTrainedTokenizerBase

from avss_core.evaluation.prompts import Demonstration
from avss_core.files.digests import digest_json, digest_tensors
from avss_core.files.writing import folder_written_whole
from avss_core.models.architectures import context_length, depth
from avss_core.models.batches import token_stream
from avss_core.models.layers import known_layers
from avss_core.models.placement import refuse_spread
from avss_core.surgery.certificate import write_certified
from avss_core.surgery.numbering import layer_map
from avss_core.training.healing import Distillation, HealingSettings
from avss_core.training.healing_text import Shares, Sources, Windows, healing_windows
from avss_core.training.lora import tensors_outside
from tasks.cache.loaded_model import model_at
from tasks.data.rows import read_documents, read_prepared
from tasks.progress.steps import working
from tasks.records import HealingTraining
from tasks.training.watched_training import Say, run_training


@dataclass(frozen=True)
class Mixture:
    """What healing learns from, and how much of it."""

    tokens: int
    validation_tokens: int
    window: int
    shares: Shares
    skip: int
    """First tokens of the calibration text to leave out, on which layers were scored and costs measured."""
    held_out: float
    """Share of the train reviews that validate."""
    chat: bool
    seed: int


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
    train, validation = mixed(tokenizer, prepared, sets, mixture, context_length(pruned.config))
    objective = Distillation(
        pruned, dense, train.ids, validation.ids, HealingSettings(**settings), layer_map=numbers
    )
    for line in _shortages(train):
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


def _shortages(windows: Windows) -> list[str]:
    """Return a line for each kind with fewer tokens than asked for."""
    return [
        f"heal: {kind} holds {counts['tokens']:,} of the {counts['wanted']:,} tokens that were asked for"
        for kind, counts in windows.counts.items()
        if counts["tokens"] < counts["wanted"]
    ]


def mixed(
    tokenizer: PreTrainedTokenizerBase,
    prepared: Path,
    sets: Sequence[str],
    mixture: Mixture,
    context: int | None,
) -> tuple[Windows, Windows]:
    """Return the windows to learn from and those to validate on; none has a test row.

    Text is the calibration text after `mixture.skip` tokens, its beginning for validation; questions are
    train and validation rows; reviews are train rows, the last of them for validation.
    """
    window = min(mixture.window, context or mixture.window)
    amounts = (mixture.validation_tokens, mixture.tokens)
    held, learnt = (mixture.shares.of(tokens)["text"] for tokens in amounts)
    text = token_stream(
        tokenizer, read_documents(prepared / "text" / "calibration.json"), mixture.skip + held + learnt
    )[mixture.skip :]
    reviews = [(row["text"], row["label"]) for row in read_prepared(prepared / "sst2" / "train.jsonl")]
    last = round(len(reviews) * (1 - mixture.held_out))
    parts = {
        "validation": Sources(text[:held], _questions(prepared, sets, "validation"), reviews[last:]),
        "train": Sources(text[held:], _questions(prepared, sets, "train"), reviews[:last]),
    }
    validation, train = (
        healing_windows(
            tokenizer,
            sources,
            mixture.shares,
            tokens=tokens,
            window=window,
            seed=mixture.seed,
            chat=mixture.chat,
            repeat=part == "train",
        )
        for (part, sources), tokens in zip(parts.items(), amounts, strict=True)
    )
    return train, validation


def _questions(prepared: Path, sets: Sequence[str], part: str) -> dict[str, list[Demonstration]]:
    """Return the questions of a part by set, with the answer that the evaluation would show."""
    return {
        name: [
            (row["question"], row["answers"][0]) for row in read_prepared(prepared / name / f"{part}.jsonl")
        ]
        for name in sets
    }
