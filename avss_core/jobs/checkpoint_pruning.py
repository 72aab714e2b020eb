"""Write the model without some layers, with a certificate that proves what the checkpoint is."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from transformers import PreTrainedModel

from avss_core.data.downloads import fetch_weights
from avss_core.display.steps import working
from avss_core.files.writing import folder_written_whole, write_text
from avss_core.models.architectures import depth
from avss_core.models.configuration import kept_layers
from avss_core.models.loading import fitted_tokenizer, has_tokenizer, load_config, load_model, load_tokenizer
from avss_core.models.locations import base_model, gguf_file, local_folder
from avss_core.models.refusals import refuse_four_bit
from avss_core.models.sizes import parameter_count
from avss_core.surgery.cards import Kept, card_of
from avss_core.surgery.certificate import write_certified_copy
from avss_core.surgery.certificate_records import Certificate
from avss_core.surgery.checkpoints import plan_copy
from avss_core.surgery.exports import mergekit_yaml, quantize_argument
from avss_core.surgery.numbering import check_own_layers, layer_map
from avss_core.surgery.pruned_checkpoints import write_pruned


@dataclass(frozen=True)
class _Pruning:
    """The layers to remove, and how the rest is written."""

    removed: list[int]
    numbers: list[int]
    """The dense model's number of each layer of the source."""
    parameters: int
    """Of the source."""
    embedded: int
    """Tokens that the source embeds."""
    write: Callable[..., Certificate]


def prune_model(
    model: str,
    removed: Sequence[int],
    *,
    dtype: str,
    folder: Path,
    provenance: Mapping[str, Any],
    revision: str | None = None,
    replace: bool = False,
    scores: Sequence[float] = (),
    kept: Sequence[Kept] = (),
) -> Certificate:
    """Write the pruned checkpoint with its certificate, card and exports, and return the certificate.

    Layers are numbered as in the source; `scores` and `kept` go on the card. A local folder whose tensors
    have the wanted dtype is copied tensor by tensor; any other model is loaded.
    """
    source = local_folder(model)
    refuse_four_bit(load_config(model, revision), "pruned")
    pruning = _copying(source, removed, dtype) if source else None
    pruning = pruning or _loading(model, removed, dtype, revision)
    # A local folder without a tokenizer gives a checkpoint without one.
    tokenizer = None if source and not has_tokenizer(source) else load_tokenizer(model, revision)
    if tokenizer is not None:
        fitted_tokenizer(tokenizer, pruning.embedded, model)
    known = {**provenance, "removed": pruning.removed, "dense_parameters": pruning.parameters}
    if pruning.numbers != list(range(len(pruning.numbers))):
        known["removed_dense"] = [pruning.numbers[layer] for layer in pruning.removed]
    stay = kept_layers(len(pruning.numbers), pruning.removed)
    step = f"writing {folder.name} without {len(pruning.removed)} layers, and checking it"
    with working(step), folder_written_whole(folder, replace=replace) as part:
        certificate = pruning.write(
            tokenizer=tokenizer,
            folder=part,
            layer_map=[pruning.numbers[layer] for layer in stay],
            provenance=known,
        )
        name = str(provenance.get("model", model))
        _write_exports(part, certificate, name, stay)
        write_text(part / "README.md", card_of(name, certificate, scores=scores, kept=kept))
    return certificate


def _copying(source: Path, removed: Sequence[int], dtype: str) -> _Pruning | None:
    """Return how to prune a folder by copying; None if its tensors must be converted."""
    numbers = layer_map(source, depth(load_config(str(source))))
    chosen = check_own_layers(removed, numbers)
    plan = plan_copy(source, chosen, dtype)
    if plan is None:
        return None
    write = partial(write_certified_copy, plan)
    return _Pruning(chosen, numbers, plan.dense_parameters, _embedded(plan.model), write)


def _loading(model: str, removed: Sequence[int], dtype: str, revision: str | None) -> _Pruning:
    """Return how to prune a model in memory."""
    fetch_weights(model, revision)
    with working(f"loading {model}"):
        network = load_model(model, revision, dtype=dtype)
    numbers = layer_map(Path(model), depth(network.config))
    chosen = check_own_layers(removed, numbers)
    write = partial(write_pruned, network, chosen)
    return _Pruning(chosen, numbers, parameter_count(network), _embedded(network), write)


def _embedded(network: PreTrainedModel) -> int:
    """Return how many tokens a model embeds."""
    embedding: Any = network.get_input_embeddings()
    return int(embedding.weight.shape[0])


def _write_exports(folder: Path, certificate: Certificate, model: str, kept: Sequence[int]) -> None:
    """Write the choice of layers for other tools beside a checkpoint."""
    base, revision = base_model(model), certificate["provenance"].get("revision")
    source = f"{base}@{revision}" if base and revision else base or model
    if base or gguf_file(model) is None:  # mergekit reads no GGUF file
        write_text(folder / "mergekit.yaml", mergekit_yaml(source, kept, certificate["dtype"]))
    write_text(folder / "llama-quantize.txt", quantize_argument(certificate["provenance"]["removed"]))
