"""What tells one model from another before it is loaded."""

from pathlib import Path

from avss_core.files.digests import digest_path
from avss_core.models.loading import load_config
from avss_core.models.locations import gguf_file, local_folder, source


def source_digest(name: str, revision: str | None = None) -> str:
    """Return the SHA-256 of the content of a checkpoint folder or GGUF file, or the commit of a Hub model.

    Args:
        name: as in `avss_core.models.loading.load_model`.
        revision: as there.

    Raises:
        FileNotFoundError: the model does not exist or cannot be reached.
        ValueError: its configuration is damaged or refused.
        LookupError: the model family is not supported.
    """
    folder, file = local_folder(name), gguf_file(name)
    if folder is not None:
        return digest_path(folder)
    if file is not None:
        return digest_path(Path(source(name, revision)[0]) / file)
    commit = getattr(load_config(name, revision), "_commit_hash", None) or revision
    return f"{name}@{commit}"
