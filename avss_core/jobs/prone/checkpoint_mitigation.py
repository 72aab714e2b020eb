"""Train the most hallucination-prone layers with the contrastive loss, and write the merged checkpoint."""

import dataclasses
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from transformers import PreTrainedTokenizerBase

from avss_core.caching.kept_results import Run
from avss_core.caching.loaded_model import model_at
from avss_core.data.rows import read_prepared
from avss_core.display.steps import working
from avss_core.evaluation.splits import refuse_test_questions
from avss_core.files.digests import digest_json, digest_tensors
from avss_core.files.writing import folder_written_whole
from avss_core.jobs.job_records import MitigationTraining
from avss_core.jobs.mixture import Mixture, mixed
from avss_core.jobs.prone.own_replies import own_replies, trained_rows
from avss_core.jobs.watched_training import Curves, Say, no_curves, run_training
from avss_core.models.architectures import context_length, depth
from avss_core.models.placement import refuse_spread
from avss_core.models.saving import save_checkpoint
from avss_core.settings.params import Params
from avss_core.surgery.certificate import write_certified
from avss_core.surgery.numbering import layer_map
from avss_core.training.frozen_prefix import Ids
from avss_core.training.healing_text import Shares
from avss_core.training.history import best_epoch
from avss_core.training.lora import adapter_size, equal_rank, tensors_outside
from avss_core.training.mitigation.mitigation import Contrastive, ContrastiveSettings, answer_loss
from avss_core.training.mitigation.pairs import Pair, Reply
from avss_core.training.processes import leads

Replies = Mapping[str, Mapping[str, Sequence[Mapping[str, Any]]]]
"""By set and part, for each of `trained_rows` the prompt, the greedy answer and the judge's verdict."""


ANCHOR_WINDOW = 128
"""Tokens of a window of text or reviews on which a trained model is kept as it was; a pair has one."""

ANCHOR_TOKENS = 16384
"""Tokens of all windows to train with, half of text and half of reviews; pairs beyond take them again."""


def train_layers(
    model: Path,
    prepared: Path,
    sets: Sequence[str],
    layers: Sequence[int],
    *,
    dtype: str,
    device: str,
    pairs: int,
    settings: Mapping[str, Any],
    held_out: float = 0.2,
    replies: Replies | None = None,
    like: Sequence[int] | None = None,
    folder: Path,
    provenance: Mapping[str, Any] | None,
    replace: bool,
    resume: Path,
    say: Say,
    curves: Curves = no_curves,
    name: str = "mitigate",
) -> tuple[MitigationTraining, dict[str, float | None]]:
    """Write the merged checkpoint; return the record of its training, and its times and memory.

    Args:
        model: checkpoint folder to train.
        prepared: folder of the prepared rows.
        sets: question sets to learn from.
        layers: layers to train, numbered as in the model.
        dtype: dtype of the model.
        device: device of the model.
        pairs: most training questions of a set.
        settings: fields of `avss_core.training.mitigation.mitigation.ContrastiveSettings`.
        held_out: share of the train reviews that validate.
        replies: what `replies_of` returned for this model; none if the loss reads none.
        like: layers whose trained parameters at the rank of `settings` are the budget; the rank is set to it.
        folder: where the checkpoint goes; of processes that were launched together the first one writes it.
        provenance: recorded in the certificate; None writes no certificate, for a checkpoint that is only
            measured.
        replace: whether to overwrite an existing checkpoint.
        resume: folder from which a stopped training resumes; the caller removes it.
        say: called with the estimate and a line for each validation.
        curves: opens the curves of the training.
        name: name of its curves, its bar and its lines.

    Raises:
        ValueError: a train or validation question is also a test question.
    """
    network, tokenizer = model_at(model, dtype, device)
    refuse_spread(network, "training the prone layers")
    numbers = layer_map(model, depth(network.config))
    read = {
        part: [
            question_pairs(prepared / each / f"{part}.jsonl", pairs, replies[each][part] if replies else None)
            for each in sets
        ]
        for part in ("train", "validation")
    }
    train, validation = ([pair for own, _ in read[part] for pair in own] for part in read)
    without_wrong = sum(without for part in read.values() for _, without in part)
    tested = [row["question"] for each in sets for row in read_prepared(prepared / each / "test.jsonl")]
    refuse_test_questions([pair.question for pair in [*train, *validation]], tested)
    options = ContrastiveSettings(**settings)
    if like is not None:
        budget = adapter_size(network, like, options.rank)
        options = dataclasses.replace(options, rank=equal_rank(network, layers, budget))
    context = context_length(network.config)
    anchors = (
        anchor_windows(tokenizer, prepared, sets, context, held_out, options.seed)
        if options.anchor
        else ((), ())
    )
    objective = Contrastive(
        tokenizer, train, validation, layers, options, context=context, base=network, anchors=anchors
    )
    trained = run_training(
        name,
        network,
        objective,
        layers,
        options,
        resume=resume,
        inputs=[model],
        say=say,
        curves=curves,
    )
    if leads():
        with (
            working(f"writing {folder.name} and checking it"),
            folder_written_whole(folder, replace=replace) as part,
        ):
            if provenance is None:
                save_checkpoint(trained.model, tokenizer, part)
            else:
                source = digest_tensors(tensors_outside(network, layers))
                write_certified(
                    trained.model, tokenizer, part, source=source, layer_map=numbers, provenance=provenance
                )
    skipped = dict(trained.record["skipped"])
    if without_wrong:
        skipped["question without a wrong answer"] = without_wrong
    record: MitigationTraining = {
        **trained.record,
        "skipped": skipped,
        "layers": list(layers),
        "dense_layers": [numbers[layer] for layer in layers],
        "rank": options.rank,
        "train_pairs": len(train),
        "validation_pairs": len(validation),
        "known": sum(pair.known for pair in objective.train) / len(objective.train) if replies else None,
        "train_rows": digest_json(sorted(pair.question for pair in train)),
        "validation_rows": digest_json(sorted(pair.question for pair in validation)),
        "best_loss": answer_loss(best_epoch(trained.record["history"])["validation_terms"], options),
    }
    return record, trained.machine


def replies_of(params: Params, model: Path, prepared: Path, run: Run) -> Replies:
    """Return the model's own answers to the questions of a training; none if no term of its loss reads them.

    Args:
        params: how questions are asked, and which.
        model: a checkpoint folder.
        prepared: the folder of the prepared rows.
        run: runs the units, one a set and part.
    """
    options, asking = params.mitigate, params.evaluate
    if not options.brier and options.known == 1:
        return {}
    parts = [(name, part) for name in params.data.sets for part in ("train", "validation")]
    jobs = {
        f"{name} {part}": partial(
            own_replies,
            model,
            prepared / name / f"{part}.jsonl",
            prepared / name / "calibration.jsonl",
            **params.machine,
            questions_at_most=options.pairs,
            shots=asking.shots,
            chat=asking.chat,
            max_new_tokens=asking.max_new_tokens,
            batch_size=asking.batch_size,
            judge_name=asking.judge,
        )
        for name, part in parts
    }
    found = run(jobs, "own answers")
    return {
        name: {part: found[f"{name} {part}"] for part in ("train", "validation")} for name in params.data.sets
    }


def training_settings(params: Params) -> dict[str, Any]:
    """Return the data and settings of the training, as arguments of `train_layers`."""
    names = {field.name for field in dataclasses.fields(ContrastiveSettings)}
    return {
        **params.machine,
        "sets": params.data.sets,
        "pairs": params.mitigate.pairs,
        "held_out": params.data.validation,
        "settings": params.mitigate.model_dump(include=names) | {"seed": params.seed},
    }


def question_pairs(
    path: Path, limit: int, replies: Sequence[Mapping[str, Any]] | None = None
) -> tuple[list[Pair], int]:
    """Return pairs of the first questions that have a wrong answer, and the number of those without.

    The pairs take the first, second, ... wrong answer of their question in turn.
    """
    rows, without = trained_rows(path, limit)
    own = [None] * len(rows) if replies is None else [Reply(**reply) for reply in replies]
    pairs = [
        Pair(
            row["question"],
            row["answers"][0],
            row["wrong_answers"][place % len(row["wrong_answers"])],
            tuple(row["answers"]),
            reply,
        )
        for place, (row, reply) in enumerate(zip(rows, own, strict=True))
    ]
    return pairs, without


def anchor_windows(
    tokenizer: PreTrainedTokenizerBase,
    prepared: Path,
    sets: Sequence[str],
    context: int | None,
    held_out: float,
    seed: int,
) -> tuple[Sequence[Ids], Sequence[Ids]]:
    """Return windows of calibration text and of train reviews for training and for validation."""
    mixture = Mixture(
        tokens=ANCHOR_TOKENS,
        validation_tokens=ANCHOR_TOKENS // 8,
        window=ANCHOR_WINDOW,
        shares=Shares(0.5, 0.0, 0.5),
        scored=0,
        costs=0,
        held_out=held_out,
        chat=False,
        seed=seed,
    )
    train, validation = mixed(tokenizer, prepared, sets, mixture, context)
    return train.ids, validation.ids
