"""A checkpoint as a repository of the Hugging Face Hub: which files go there, and their upload."""

import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

from huggingface_hub import HfApi
from huggingface_hub.errors import HfHubHTTPError
from huggingface_hub.utils import validate_repo_id  # type: ignore[attr-defined]

from avss_core.files.containment import refuse_links
from avss_core.files.shards import stored_tensors
from avss_core.files.writing import read_json
from avss_core.models.refusals import BROKEN_OFF
from avss_core.surgery.certificate_records import Certificate
from avss_core.surgery.export.hub_card import (
    About,
    Licence,
    Measured,
    base_in,
    base_of,
    hub_card,
    licence_in,
    licence_of,
    written_card,
)
from avss_core.surgery.numbering import CERTIFICATE

CARD = "README.md"

PARTS = (
    "*.safetensors", "added_tokens.json", CERTIFICATE, "chat_template.jinja", "config.json",
    "generation_config.json", "LICENSE*", "llama-quantize.txt", "mergekit.yaml", "merges.txt",
    "model.safetensors.index.json", "params.yaml", "special_tokens_map.json", "tokenizer.json",
    "tokenizer.model", "tokenizer_config.json", "vocab.json", "vocab.txt",
)  # fmt: skip
"""Names of the files of a checkpoint beside its card: nothing else in the folder is uploaded."""


@dataclass(frozen=True)
class PushPlan:
    """What a repository will hold."""

    folder: Path
    repository: str
    card: str
    files: dict[str, int]
    """Bytes of each file, the card among them, by name."""
    left_out: list[str]
    """Names of what else lies in the folder."""
    places: tuple[str, ...]
    """Paths of this machine that the certificate and the recipe name: only their last part is uploaded."""


def plan_push(
    folder: Path | str,
    repository: str,
    *,
    api: HfApi,
    licence: Licence | None = None,
    base_model: str | None = None,
    datasets: Sequence[str] = (),
    results: Sequence[Measured] = (),
) -> PushPlan:
    """Return what goes into a repository; nothing is sent.

    Args:
        folder: a checkpoint folder.
        repository: as OWNER/NAME.
        api: asked for the licence of the base model, if neither an argument nor the card says one.
        licence: of the checkpoint; None for that of its card, else of the base model.
        base_model: Hub id; None for the one that the certificate or the card names.
        datasets: Hub ids of the data that it was repaired or trained with.
        results: what was measured of it.

    Raises:
        FileNotFoundError: the folder holds no checkpoint.
        ValueError: the repository has no such name, a link leads out of the folder, the card cannot be read,
            or the licence is not known.
    """
    folder = Path(folder)
    _refuse_name(repository)
    stored_tensors(folder)
    refuse_links(folder)
    certificate: Certificate | None = None
    if (folder / CERTIFICATE).is_file():
        certificate = read_json(folder / CERTIFICATE)
    name = repository.partition("/")[2]
    own = (folder / CARD).read_text(encoding="utf-8") if (folder / CARD).is_file() else None
    base = base_model or base_of(certificate) or (own and base_in(own)) or None
    licence = licence or (own and licence_in(own)) or _fetched_licence(base, api)
    if licence is None:
        raise ValueError(
            f"the licence of {base or folder} is not known, and without one nobody may use the model: "
            "name it with --license, such as --license apache-2.0"
        )
    about = About(licence, base, datasets, results)
    card = hub_card(own or written_card(name, certificate, base), name, about)
    there = {
        path.relative_to(folder).as_posix(): path for path in sorted(folder.rglob("*")) if path.is_file()
    }
    files = {file: path.stat().st_size for file, path in there.items() if _is_part(file)}
    return PushPlan(
        folder=folder,
        repository=repository,
        card=card,
        files={CARD: len(card.encode()), **files},
        left_out=[file for file in there if file not in files and file != CARD],
        places=_places(certificate),
    )


def push(plan: PushPlan, *, api: HfApi, private: bool = False, revision: str | None = None) -> str:
    """Upload a checkpoint in one commit, and return the address of the commit.

    The repository, and the branch if there is none of that name, are made first.

    Args:
        plan: what is uploaded.
        api: with a token that may write there.
        private: whether a new repository is private.
        revision: a branch; None for the main one.

    Raises:
        OSError: the Hub does not answer, or refuses.
    """
    with _hub_errors(plan.repository), tempfile.TemporaryDirectory(prefix="avss-push-") as made:
        _stage(plan, Path(made))
        api.create_repo(plan.repository, private=private, exist_ok=True)
        if revision is not None:
            api.create_branch(plan.repository, branch=revision, exist_ok=True)
        commit = api.upload_folder(
            repo_id=plan.repository,
            folder_path=made,
            revision=revision,
            commit_message="Checkpoint with its card, recipe and certificate",
        )
    return str(commit.commit_url)


def _stage(plan: PushPlan, made: Path) -> None:
    """Put links to the files into an empty folder, and the card; texts that name a place are written anew."""
    for name in plan.files:
        source = plan.folder / name
        if name == CARD:
            (made / name).write_text(plan.card, encoding="utf-8")
        elif source.suffix in {".json", ".yaml"} and any(place in _text(source) for place in plan.places):
            text = _text(source)
            for place in plan.places:
                text = text.replace(place, Path(place).name)
            (made / name).write_text(text, encoding="utf-8")
        else:
            (made / name).symlink_to(source.resolve())


def _text(file: Path) -> str:
    """Return the text of a small file; that of a tokenizer names no place."""
    return "" if file.name.startswith("tokenizer") else file.read_text(encoding="utf-8")


def _is_part(name: str) -> bool:
    """Tell whether a file belongs to a checkpoint."""
    return "/" not in name and not name.startswith(".") and any(fnmatch(name, part) for part in PARTS)


def _places(certificate: Certificate | None) -> tuple[str, ...]:
    """Return the paths of this machine that a certificate names, the longest first."""
    known: Any = certificate["provenance"] if certificate else {}
    paths = {value for value in known.values() if isinstance(value, str) and Path(value).is_absolute()}
    return tuple(sorted(paths, key=len, reverse=True))


def _refuse_name(repository: str) -> None:
    """Raise ValueError for a name that no repository has."""
    try:
        validate_repo_id(repository)
        valid = repository.count("/") == 1
    except ValueError:
        valid = False
    if not valid:
        raise ValueError(f"{repository!r} names no repository of the Hub: give OWNER/NAME")


def _fetched_licence(base: str | None, api: HfApi) -> Licence | None:
    """Return the licence that the Hub has of a model; None if it does not answer."""
    if base is None:
        return None
    try:
        metadata: Any = api.model_info(base).card_data
    except (OSError, BROKEN_OFF):
        return None
    return licence_of(metadata.to_dict()) if metadata else None


@contextmanager
def _hub_errors(repository: str) -> Iterator[None]:
    """Say in one sentence why the Hub took nothing.

    Raises:
        PermissionError: the Hub refuses the token, or there is none.
        OSError: the Hub does not answer, or refuses otherwise.
    """
    try:
        yield
    except Exception as error:  # a RuntimeError for a file that did not arrive
        cause = error.__cause__ if isinstance(error, RuntimeError) else error
        if not isinstance(cause, (HfHubHTTPError, BROKEN_OFF)):
            raise
        answer = getattr(cause, "response", None)
        if answer is not None and answer.status_code in (401, 403):
            raise PermissionError(
                f"the Hub lets nothing be written to {repository} ({answer.status_code}): log in with "
                "`hf auth login`, or export HF_TOKEN with a token that may write there"
            ) from error
        reason = (str(cause).strip() or type(cause).__name__).splitlines()[0]
        if answer is not None:  # its text shows the address, which may be signed
            reason = f"{answer.status_code} {getattr(cause, 'server_message', None) or answer.reason_phrase}"
        raise OSError(
            f"cannot upload to {repository}: {reason}. Files become visible in one commit at the end, which "
            "was not made: try again"
        ) from error
