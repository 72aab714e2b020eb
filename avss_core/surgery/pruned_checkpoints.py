"""Write a model that is in memory without some of its layers, with its certificate."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from transformers import PreTrainedModel, PreTrainedTokenizerBase

from avss_core.files.writing import folder_written_whole
from avss_core.models.architectures import block_path, depth
from avss_core.models.configuration import kept_layers
from avss_core.models.locations import base_model
from avss_core.models.sizes import parameter_count
from avss_core.surgery.certificate import kept_source, write_certified
from avss_core.surgery.certificate_records import Certificate
from avss_core.surgery.checks import refuse_unfit
from avss_core.surgery.numbering import check_own_layers, layer_map
from avss_core.surgery.pruning import prune


def save_pruned(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase | None,
    removed: Sequence[int],
    folder: Path | str,
    *,
    replace: bool = False,
) -> Certificate:
    """Write a model without some layers as a plain checkpoint, and return its certificate.

    A fresh process checks it, which `avss_core.surgery.certificate.verify` repeats. The folder loads with
    `transformers` alone.

    Args:
        model: the model with all its layers; stays as it is.
        tokenizer: saved beside it, if given.
        removed: numbers of the layers to leave out, in this model.
        folder: what to make; nothing is left of it if anything fails.
        replace: whether an existing folder is replaced; otherwise it is refused.

    Raises:
        FileExistsError: the folder exists and is not empty, and `replace` is false.
        ValueError: the layers do not fit the model, its configuration cannot follow, or a check failed.
        LookupError: the family is not known, and its list of blocks cannot be found.
        OSError: a file cannot be written, or a process was killed.
    """
    name = model.name_or_path or ""
    numbers = layer_map(Path(name), depth(model.config)) if name else list(range(depth(model.config)))
    chosen = check_own_layers(removed, numbers)
    provenance = {
        "model": base_model(name) or Path(name).name or model.config.model_type,  # names no place here
        "removed": chosen,
        "dense_parameters": parameter_count(model),
    }
    kept = [numbers[layer] for layer in kept_layers(len(numbers), chosen)]
    with folder_written_whole(Path(folder), replace=replace) as part:
        return write_pruned(model, chosen, tokenizer, part, layer_map=kept, provenance=provenance)


def write_pruned(
    model: PreTrainedModel,
    removed: Sequence[int],
    tokenizer: PreTrainedTokenizerBase | None,
    folder: Path,
    *,
    layer_map: Sequence[int],
    provenance: Mapping[str, Any],
) -> Certificate:
    """Write a model without some layers, certified: every tensor equals its source to the bit.

    Raises:
        ValueError: as `prune` and `write_certified`, or the model itself fails a check.
    """
    refuse_unfit(model)
    kept = kept_layers(depth(model.config), removed)
    return write_certified(
        prune(model, removed),
        tokenizer,
        folder,
        source=kept_source(model.state_dict(), block_path(model), kept),
        layer_map=layer_map,
        provenance=provenance,
    )
