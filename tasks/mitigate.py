"""Train the most hallucination-prone layers with the contrastive loss, and write the merged checkpoint."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from prefect import task
from prefect.logging import get_run_logger

from avss_core.architectures import block_path, depth
from avss_core.certificate import write_certified
from avss_core.digests import digest_json, digest_tensors, folder_written_whole
from avss_core.mitigation import ContrastiveSettings, train_contrastive
from avss_core.numbering import layer_map
from avss_core.objectives import Epoch, history_records
from avss_core.pairs import Pair
from tasks.loaded import model_at
from tasks.progress import progress
from tasks.rows import Row, read_prepared


@task(name="train-layers")
def train_layers(
    model: Path,
    prepared: Path,
    sets: Sequence[str],
    most_prone: Sequence[int],
    *,
    dtype: str,
    device: str,
    layers: int,
    pairs: int,
    settings: Mapping[str, Any],
    folder: Path,
    provenance: Mapping[str, Any],
    replace: bool,
) -> dict[str, Any]:
    """Write the merged checkpoint, and return the trained layers with the history of the training.

    Args:
        model: checkpoint folder to train.
        prepared: folder of the prepared rows.
        sets: question sets to learn from.
        most_prone: layers of the dense model, most prone first.
        dtype: of the model.
        device: of the model.
        layers: how many layers to train.
        pairs: training questions a set, at most.
        settings: fields of `avss_core.mitigation.ContrastiveSettings`.
        folder: where the checkpoint goes.
        provenance: recorded in the certificate.
        replace: whether an existing checkpoint gives way.
    """
    network, tokenizer = model_at(model, dtype, device)
    numbers = layer_map(model, depth(network.config))
    chosen = trained_layers(most_prone, numbers, layers)
    train = [pair for name in sets for pair in question_pairs(prepared / name / "train.jsonl", pairs)]
    validation = [
        pair for name in sets for pair in question_pairs(prepared / name / "validation.jsonl", pairs)
    ]
    options = ContrastiveSettings(**settings)
    with progress("training", len(train) * options.epochs) as advance:
        merged, training = train_contrastive(
            network,
            tokenizer,
            train,
            validation,
            chosen,
            options,
            on_step=lambda step: advance(step.samples),
            on_epoch=_say,
        )
    state = network.state_dict()
    outside = {
        name: tensor for name, tensor in state.items() if not _inside(name, block_path(network), chosen)
    }
    with folder_written_whole(folder, replace=replace) as part:
        write_certified(
            merged, tokenizer, part, source=digest_tensors(outside), layer_map=numbers, provenance=provenance
        )
    return {
        "layers": chosen,
        "dense_layers": [numbers[layer] for layer in chosen],
        "train_pairs": len(train),
        "validation_pairs": len(validation),
        "train_rows": digest_json(sorted(pair.question for pair in train)),
        "history": history_records(training.epochs),
    }


def trained_layers(most_prone: Sequence[int], numbers: Sequence[int], count: int) -> list[int]:
    """Return the model's own numbers of the most prone layers that it still has, in depth order.

    Raises:
        ValueError: none of them is left.
    """
    own = [numbers.index(layer) for layer in most_prone if layer in numbers][:count]
    if not own:
        raise ValueError(f"none of the most prone layers {list(most_prone)[:count]} is left in the model")
    return sorted(own)


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


def _inside(name: str, path: str, layers: Sequence[int]) -> bool:
    """Tell whether a tensor belongs to one of some blocks."""
    return any(name.startswith(f"{path}.{layer}.") for layer in layers)


def _say(epoch: Epoch) -> None:
    """Log an epoch's losses."""
    get_run_logger().info(
        "epoch %d: train loss %.3f, validation loss %.3f, accepted answer preferred in %.0f %%",
        epoch.epoch,
        epoch.train_loss,
        epoch.validation_loss,
        100 * (epoch.validation_preference or 0),
    )
