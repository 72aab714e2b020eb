"""Train the most hallucination-prone layers with the contrastive loss, and write the merged checkpoint."""

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from avss_core.caching.loaded_model import model_at
from avss_core.data.rows import read_prepared
from avss_core.display.steps import working
from avss_core.evaluation.splits import refuse_test_questions
from avss_core.files.digests import digest_json, digest_tensors
from avss_core.files.writing import folder_written_whole
from avss_core.jobs.job_records import MitigationTraining
from avss_core.jobs.watched_training import Curves, Say, no_curves, run_training
from avss_core.models.architectures import context_length, depth
from avss_core.models.placement import refuse_spread
from avss_core.models.saving import save_checkpoint
from avss_core.settings.params import Params
from avss_core.surgery.certificate import write_certified
from avss_core.surgery.numbering import layer_map
from avss_core.training.history import best_epoch
from avss_core.training.lora import adapter_size, equal_rank, tensors_outside
from avss_core.training.mitigation import Contrastive, ContrastiveSettings, Pair, answer_loss
from avss_core.training.processes import leads


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
        settings: fields of `avss_core.training.mitigation.ContrastiveSettings`.
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
        part: [question_pairs(prepared / each / f"{part}.jsonl", pairs) for each in sets]
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
    objective = Contrastive(tokenizer, train, validation, layers, options, context=context)
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
        "train_rows": digest_json(sorted(pair.question for pair in train)),
        "validation_rows": digest_json(sorted(pair.question for pair in validation)),
        "best_loss": answer_loss(best_epoch(trained.record["history"])["validation_terms"], options),
    }
    return record, trained.machine


def training_settings(params: Params) -> dict[str, Any]:
    """Return the data and settings of the training, as arguments of `train_layers`."""
    names = {field.name for field in dataclasses.fields(ContrastiveSettings)}
    return {
        **params.machine,
        "sets": params.data.sets,
        "pairs": params.mitigate.pairs,
        "settings": params.mitigate.model_dump(include=names) | {"seed": params.seed},
    }


def question_pairs(path: Path, limit: int) -> tuple[list[Pair], int]:
    """Return pairs of the first questions that have a wrong answer, and the number of those without.

    The pairs take the first, second, ... wrong answer of their question in turn.
    """
    pairs: list[Pair] = []
    without = 0
    for row in read_prepared(path):
        if len(pairs) == limit:
            break
        wrong = row["wrong_answers"]
        if not wrong:
            without += 1
            continue
        answer, accepted = wrong[len(pairs) % len(wrong)], row["answers"]
        pairs.append(Pair(row["question"], accepted[0], answer, tuple(accepted)))
    return pairs, without
