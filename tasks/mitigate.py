"""Train the most hallucination-prone layers with the contrastive loss, and write the merged checkpoint."""

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from prefect import task

from avss_core.evaluation.splits import refuse_test_questions
from avss_core.files.digests import digest_json, digest_tensors
from avss_core.files.writing import folder_written_whole
from avss_core.models.architectures import depth
from avss_core.models.loading import save_checkpoint
from avss_core.models.placement import refuse_spread
from avss_core.surgery.certificate import write_certified
from avss_core.surgery.numbering import layer_map
from avss_core.training.lora import adapter_size, equal_rank, tensors_outside
from avss_core.training.mitigation import ContrastiveSettings, answer_loss, contrastive
from avss_core.training.pairs import Pair
from tasks.cache.loaded_model import model_at
from tasks.data.rows import read_prepared
from tasks.progress.steps import working
from tasks.training.watched_training import Say, run_training


@task(name="train-layers")
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
    name: str = "mitigate",
    say: Say | None = None,
) -> tuple[dict[str, Any], dict[str, float | None]]:
    """Write the merged checkpoint; return the record of its training, and its times and memory.

    Args:
        model: checkpoint folder to train.
        prepared: folder of the prepared rows.
        sets: question sets to learn from.
        layers: the model's own numbers of the layers to train.
        dtype: of the model.
        device: of the model.
        pairs: training questions a set, at most.
        settings: fields of `avss_core.training.mitigation.ContrastiveSettings`.
        like: layers whose number of trained parameters at that rank is the budget; the rank follows from it.
        folder: where the checkpoint goes.
        provenance: recorded in the certificate; None writes no certificate, for a checkpoint that is measured
            and thrown away.
        replace: whether an existing checkpoint gives way.
        resume: where a stopped training goes on; the caller removes it.
        name: what its curves, its bar and its lines are called.
        say: told of the estimate and of each validation; the log where it is None.

    Raises:
        ValueError: a question to learn from, or to choose an epoch by, is a test question.
    """
    network, tokenizer = model_at(model, dtype, device)
    refuse_spread(network, "training the prone layers")
    numbers = layer_map(model, depth(network.config))
    read = {
        part: [question_pairs(prepared / each / f"{part}.jsonl", pairs) for each in sets]
        for part in ("train", "validation")
    }
    train, validation = ([pair for own, _ in read[part] for pair in own] for part in read)
    passed = sum(without for found in read.values() for _, without in found)
    tested = [row["question"] for each in sets for row in read_prepared(prepared / each / "test.jsonl")]
    refuse_test_questions([pair.question for pair in [*train, *validation]], tested)
    options = ContrastiveSettings(**settings)
    if like is not None:
        budget = adapter_size(network, like, options.rank)
        options = dataclasses.replace(options, rank=equal_rank(network, layers, budget))
    objective = contrastive(network, tokenizer, train, validation, layers, options)
    found = run_training(name, network, objective, layers, options, resume=resume, inputs=[model], say=say)
    said = f"writing {folder.name} and checking it"
    with working(said), folder_written_whole(folder, replace=replace) as part:
        if provenance is None:
            save_checkpoint(found.model, tokenizer, part)
        else:
            source = digest_tensors(tensors_outside(network, layers))
            write_certified(
                found.model, tokenizer, part, source=source, layer_map=numbers, provenance=provenance
            )
    best = min(found.record["history"], key=lambda epoch: epoch["validation_loss"])
    skipped = found.record["skipped"] | ({"question without a wrong answer": passed} if passed else {})
    record = {
        "layers": list(layers),
        "dense_layers": [numbers[layer] for layer in layers],
        "rank": options.rank,
        "train_pairs": len(train),
        "validation_pairs": len(validation),
        "train_rows": digest_json(sorted(pair.question for pair in train)),
        "validation_rows": digest_json(sorted(pair.question for pair in validation)),
        "best_loss": answer_loss(best["validation_terms"], options),
    }
    return found.record | record | {"skipped": skipped}, found.machine


def question_pairs(path: Path, limit: int) -> tuple[list[Pair], int]:
    """Return pairs of the first questions that have a wrong answer, and how many before them had none.

    Pair by pair, another of its question's wrong answers is taken.
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
