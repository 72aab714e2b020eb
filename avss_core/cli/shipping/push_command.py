"""`avss push`: a checkpoint to the Hugging Face Hub."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from avss_core.cli.options import AsJson
from avss_core.cli.printing import say_unless, show
from avss_core.cli.session import loading
from avss_core.display.steps import working

if TYPE_CHECKING:
    from avss_core.surgery.export.hub_card import Measured


def push(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="A checkpoint folder.", show_default=False)],
    repository: Annotated[
        str, typer.Argument(metavar="REPO", help="OWNER/NAME on the Hub.", show_default=False)
    ],
    yes: Annotated[bool, typer.Option("--yes", help="Upload. Left out: only show what would be.")] = False,
    private: Annotated[bool, typer.Option("--private", help="Make a new repository a private one.")] = False,
    revision: Annotated[str | None, typer.Option(help="Branch; made if there is none.")] = None,
    licence: Annotated[
        str | None, typer.Option("--license", help="Such as apache-2.0. Left out: that of the base model.")
    ] = None,
    base_model: Annotated[
        str | None, typer.Option(help="Hub id. Left out: the one that the certificate or the card names.")
    ] = None,
    datasets: Annotated[
        list[str] | None,
        typer.Option("--dataset", help="Hub id of data it was repaired or trained with; may be repeated."),
    ] = None,
    results: Annotated[
        Path | None, typer.Option(help="What avss evaluate DIR --json printed, for the card.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Check a checkpoint, complete its card, and upload both; without --yes only show what would go.

    The files of a checkpoint go there, with certificate and recipe, and nothing
    else that lies in the folder; paths of this machine are left out of them. The
    card gets licence, base model and its relation, data sets and results as the
    Hub reads them. The token is that of HF_TOKEN or `hf auth login`.

    Prints one row a file.

    Example: avss push pruned me/my-model-pruned
    """
    with working(f"{folder} for {repository}"):
        with loading():
            from huggingface_hub import HfApi

            from avss_core.surgery.export import hub_push
            from avss_core.surgery.export.hub_card import Licence
        api = HfApi()
        plan = hub_push.plan_push(
            folder,
            repository,
            api=api,
            licence=Licence(licence) if licence else None,
            base_model=base_model,
            datasets=datasets or (),
            results=figures_of(folder, results) if results else (),
        )
        verified = certified(folder)
        size = f"{len(plan.files)} files, {sum(plan.files.values()) / 1e6:,.1f} MB"
        with working(f"uploading {size}"):
            url = hub_push.push(plan, api=api, private=private, revision=revision) if yes else None
    rows = [{"file": name, "bytes": size} for name, size in plan.files.items()]
    head = plan.card.split("---\n")[1]
    if not verified:
        say_unless(as_json, f"{folder} has no certificate, so it was not checked")
    if plan.left_out:
        say_unless(as_json, f"not part of a checkpoint, left here: {', '.join(plan.left_out)}")
    said = (
        f"uploaded: {url}" if url else f"dry run: {size} would go to {repository}; add --yes to upload them"
    )
    say_unless(as_json, f"{head}{said}")
    record = {
        "folder": str(folder),
        "repository": repository,
        "uploaded": url,
        "verified": verified,
        "files": rows,
        "left_out": plan.left_out,
        "card": plan.card,
    }
    show(record, rows, title=f"Files for {repository}", as_json=as_json)


def certified(folder: Path) -> bool:
    """Return whether a checkpoint has a certificate; one that does not hold ends the command."""
    from avss_core.surgery import certificate

    if not (folder / certificate.CERTIFICATE).is_file():
        return False
    with working(f"checking {folder} in a fresh process"):
        failed = [check.name for check in certificate.verify(folder) if not check.passed]
    if failed:
        raise ValueError(
            f"{folder} does not hold what its certificate promises: {', '.join(failed)}. Nothing was uploaded"
        )
    return True


def figures_of(folder: Path, file: Path) -> "list[Measured]":
    """Return what was measured of a checkpoint."""
    from avss_core.files.writing import read_json
    from avss_core.surgery.export.hub_card import measured

    record = read_json(file)
    if isinstance(record, dict) and "models" in record:  # of several models
        own = [each for each in record["models"] if Path(each["model"]).name == folder.resolve().name]
        record = own[0] if own else record["models"][0]
    model = record.get("model") if isinstance(record, dict) else None
    if model is not None and Path(model).name != folder.resolve().name:
        raise ValueError(f"--results {file} is of {model}, not of {folder}")
    try:
        return measured(record)
    except ValueError as error:
        raise ValueError(f"--results {file}: {error}") from error
