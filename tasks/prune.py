"""Write the model without some layers, and prove that the checkpoint is what it says."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from prefect import task

from avss_core.architectures import block_path, depth
from avss_core.certificate import kept_source, write_certified
from avss_core.digests import folder_written_whole
from avss_core.models import has_tokenizer, load_model, load_tokenizer
from avss_core.pruning import check_layers, kept_layers, parameter_count, prune


@task(name="prune-model")
def prune_model(
    model: str,
    removed: Sequence[int],
    *,
    dtype: str,
    folder: Path,
    provenance: Mapping[str, Any],
    revision: str | None = None,
    replace: bool = False,
) -> dict[str, Any]:
    """Write the pruned checkpoint with its certificate, and return the certificate."""
    network = load_model(model, revision, dtype=dtype)
    before = parameter_count(network)
    layers = depth(network.config)
    removed = check_layers(removed, layers)
    kept = kept_layers(layers, removed)
    # A local folder may hold weights alone; the checkpoint then has no tokenizer either.
    bare = Path(model).is_dir() and not has_tokenizer(Path(model))
    tokenizer = None if bare else load_tokenizer(model, revision)
    source = kept_source(network.state_dict(), block_path(network), kept)
    with folder_written_whole(folder, replace=replace) as part:
        return write_certified(
            prune(network, removed),
            tokenizer,
            part,
            source=source,
            layer_map=kept,
            provenance={**provenance, "removed": removed, "dense_parameters": before},
        )
