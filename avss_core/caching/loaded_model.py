"""The model that this process works with, loaded once for all its units."""

import functools
from pathlib import Path

from transformers import PreTrainedModel, PreTrainedTokenizerBase

from avss_core.caching.content import content_digest
from avss_core.display.steps import working
from avss_core.models.loading import fitted_tokenizer, load_model, load_tokenizer


def model_at(folder: Path, dtype: str, device: str) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """Return model and tokenizer of a checkpoint folder; the last one asked for stays in memory."""
    return _load(str(folder), content_digest(folder), dtype, device)


@functools.lru_cache(maxsize=1)
def _load(
    folder: str, _digest: str, dtype: str, device: str
) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    with working(f"loading {Path(folder).name}"):
        tokenizer = load_tokenizer(folder)
        model = load_model(folder, dtype=dtype, device=device)
    embedded = int(model.get_input_embeddings().num_embeddings)  # type: ignore[arg-type]
    return model, fitted_tokenizer(tokenizer, embedded, folder)
