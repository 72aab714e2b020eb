"""Train the most hallucination-prone layers with the contrastive loss, and write the merged checkpoint."""

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from prefect import task
from prefect.logging import get_run_logger
from torch import Tensor
from transformers import PreTrainedModel

from avss_core.architectures import block_path, depth
from avss_core.certificate import write_certified
from avss_core.digests import digest_json, digest_tensors, folder_written_whole
from avss_core.lora import adapter_size, equal_rank
from avss_core.mitigation import ContrastiveSettings, answer_loss, train_contrastive
from avss_core.models import save_checkpoint
from avss_core.numbering import layer_map
from avss_core.objectives import Epoch, history_records
from avss_core.pairs import Pair
from avss_core.splits import refuse_test_questions
from tasks.loaded import model_at
from tasks.progress import progress
from tasks.rows import Row, read_prepared


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
) -> dict[str, Any]:
    """Write the merged checkpoint, and return the trained layers with the history of the training.

    Args:
        model: checkpoint folder to train.
        prepared: folder of the prepared rows.
        sets: question sets to learn from.
        layers: the model's own numbers of the layers to train.
        dtype: of the model.
        device: of the model.
        pairs: training questions a set, at most.
        settings: fields of `avss_core.mitigation.ContrastiveSettings`.
        like: layers whose number of trained parameters at that rank is the budget; the rank follows from it.
        folder: where the checkpoint goes.
        provenance: recorded in the certificate; None writes no certificate, for a checkpoint that is measured
            and thrown away.
        replace: whether an existing checkpoint gives way.

    Raises:
        ValueError: a question to learn from, or to choose an epoch by, is a test question.
    """
    network, tokenizer = model_at(model, dtype, device)
    numbers = layer_map(model, depth(network.config))
    train, validation = (
        [pair for name in sets for pair in question_pairs(prepared / name / f"{part}.jsonl", pairs)]
        for part in ("train", "validation")
    )
    tested = [row["question"] for name in sets for row in read_prepared(prepared / name / "test.jsonl")]
    refuse_test_questions([pair.question for pair in [*train, *validation]], tested)
    options = ContrastiveSettings(**settings)
    if like is not None:
        budget = adapter_size(network, like, options.rank)
        options = dataclasses.replace(options, rank=equal_rank(network, layers, budget))
    with progress("training", len(train) * options.epochs) as advance:
        merged, training = train_contrastive(
            network,
            tokenizer,
            train,
            validation,
            layers,
            options,
            on_step=lambda step: advance(step.samples),
            on_epoch=_say,
        )
    best = training.best
    with folder_written_whole(folder, replace=replace) as part:
        if provenance is None:
            save_checkpoint(merged, tokenizer, part)
        else:
            source = digest_tensors(_outside(network, layers))
            write_certified(merged, tokenizer, part, source=source, layer_map=numbers, provenance=provenance)
    return {
        "layers": list(layers),
        "dense_layers": [numbers[layer] for layer in layers],
        "rank": options.rank,
        "parameters": training.parameters,
        "steps": len(training.steps),
        "train_pairs": len(train),
        "validation_pairs": len(validation),
        "skipped": training.skipped,
        "train_rows": digest_json(sorted(pair.question for pair in train)),
        "validation_rows": digest_json(sorted(pair.question for pair in validation)),
        "best_loss": None if best is None else answer_loss(best, options),
        "history": history_records(training.epochs),
    }


def question_pairs(path: Path, limit: int) -> list[Pair]:
    """Return the pairs of the first questions that have a wrong answer, one for each wrong answer in turn."""
    rows: list[Row] = [row for row in read_prepared(path) if row["wrong_answers"]]
    return [
        Pair(
            row["question"],
            row["answers"][0],
            row["wrong_answers"][index % len(row["wrong_answers"])],
            tuple(row["answers"]),
        )
        for index, row in enumerate(rows[:limit])
    ]


def _outside(network: PreTrainedModel, layers: Sequence[int]) -> dict[str, Tensor]:
    """Return the tensors outside of some blocks: training leaves them as they are, to the bit."""
    inside = tuple(f"{block_path(network)}.{layer}." for layer in layers)
    return {name: tensor for name, tensor in network.state_dict().items() if not name.startswith(inside)}


def _say(epoch: Epoch) -> None:
    """Log an epoch's losses."""
    get_run_logger().info(
        "epoch %d: train loss %.3f, validation loss %.3f, accepted answer preferred in %.0f %%",
        epoch.epoch,
        epoch.train_loss,
        epoch.validation_loss,
        100 * (epoch.validation_preference or 0),
    )
