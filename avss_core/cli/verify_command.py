"""`avss verify`: a checkpoint against its certificate."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from avss_core.cli.errors import CheckFailedError
from avss_core.cli.options import AsJson
from avss_core.cli.printing import show
from avss_core.display.steps import working

if TYPE_CHECKING:
    from avss_core.jobs.job_records import VerifiedModel
    from avss_core.surgery.certificate_records import CheckRecord


def verify(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="A checkpoint that avss wrote.")],
    logits: Annotated[
        bool,
        typer.Option(
            help="Run the model too. --no-logits leaves out what needs it in memory: logits and cache."
        ),
    ] = True,
    as_json: AsJson = False,
) -> None:
    """Check a checkpoint that avss wrote against its certificate, in a fresh process.

    Its tensors, configuration, logits, cache and tokenizer are compared with
    what the certificate promises; one that fails gives exit code 1.

    Prints one row a check, and writes nothing.

    Example: avss verify pruned
    """
    with working(f"checking {folder} in a fresh process"):
        from avss_core.surgery import certificate

        try:
            checks: list[CheckRecord] = [
                {"name": check.name, "passed": check.passed, "detail": check.detail}
                for check in certificate.verify(folder, logits=logits)
            ]
        except (KeyError, TypeError) as error:
            raise ValueError(f"{folder / certificate.CERTIFICATE} is damaged: it lacks {error}") from error
    failed = [check["name"] for check in checks if not check["passed"]]
    record: VerifiedModel = {"folder": str(folder), "passed": not failed, "checks": checks}
    show(record, checks, title=f"Checks of {folder}", as_json=as_json)
    if failed:
        raise CheckFailedError(f"{folder} does not hold what its certificate promises: {', '.join(failed)}")
