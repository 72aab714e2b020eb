"""Errors that a person can act on: one message, no traceback, exit code 1. AVSS_TRACEBACK=1 shows it all."""

import errno
import json
import logging
import os
import shutil
import sys
import traceback
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import product
from pathlib import Path
from types import TracebackType

from flows import ROOT
from tasks.history.masking import masked

EXPECTED = (ValueError, LookupError, OSError, ImportError)
"""What the code raises with a message that says what is wrong and what to do."""

_BUGS = (KeyError, IndexError)
"""Kinds of LookupError that nobody raises on purpose."""

_INTERRUPTED = "interrupted; run the same command again to go on from the finished units"

_ENDED = ("Execution was aborted by an interrupt signal", "Execution was aborted by Python system exit call")
"""What Prefect says of a flow that a person or the system has ended."""

_ROOM = 100e6
"""Bytes, under which a disk passes for full: what could not be written whole is gone when that is said."""

_LOGGERS = ("prefect", "prefect.engine", "prefect.flow_runs", "prefect.task_runs")

QUIET = {
    **dict.fromkeys(_LOGGERS, logging.WARNING),
    # Warns of every event that is not sent yet when the command is done; it is sent all the same.
    "EventsWorker": logging.ERROR,
    # Says how long a training takes and how far it is.
    "prefect.training": logging.INFO,
}
"""Loggers of Prefect, and the least that they say unless a command is told to be verbose."""

VERBOSE = "AVSS_VERBOSE"
"""Environment variable that lets Prefect tell of every task."""


class CheckFailedError(ValueError):
    """A check that failed, whose result has been printed."""


class _SaidOnce(logging.Filter):
    """Drop what Prefect logs of an expected end, once a task and a flow: the message follows at the end."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Return whether the record says something new."""
        error = record.exc_info[1] if record.exc_info else None
        text = record.getMessage()
        told = text.startswith("Finished in state Failed(") or any(end in text for end in _ENDED)
        return not _is_expected(error) and not told


class _Masked(logging.Filter):
    """Take secrets out of what Prefect logs and keeps."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Change the record in place, and return true."""
        record.msg, record.args = masked(record.getMessage()), None
        if record.exc_info and record.exc_info[0]:
            record.exc_text = masked("".join(traceback.format_exception(*record.exc_info)).rstrip())
        return True


@contextmanager
def error_object() -> Iterator[None]:
    """Print as one JSON object what ends the context, unless a result stands on standard output already."""
    try:
        yield
    except BaseException as error:
        said = _said(error)
        if said:
            print(json.dumps({"error": masked(said)}, ensure_ascii=False))
        raise


@contextmanager
def readable_errors() -> Iterator[None]:
    """Print an expected error as one message and exit with code 1; let a bug show its traceback.

    Secrets are masked in all that is shown and logged.
    """  # noqa: DOC501 - an error becomes an exit code
    sys.excepthook = _show_masked
    if os.environ.get("AVSS_TRACEBACK"):
        with _filtered(_Masked()):
            yield
        return
    try:
        with _filtered(_SaidOnce(), _Masked()), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    except EXPECTED as error:
        if not _is_expected(error):
            raise
        print(f"error: {masked(str(error)) or type(error).__name__}{_full_disk(error)}", file=sys.stderr)
        raise SystemExit(1) from None
    except KeyboardInterrupt:
        print(_INTERRUPTED, file=sys.stderr)
        raise SystemExit(130) from None
    except SystemExit as end:
        if end.code == 130:  # typer's way to say so
            print(_INTERRUPTED, file=sys.stderr)
        raise


@contextmanager
def _filtered(*filters: logging.Filter) -> Iterator[None]:
    """Send what Prefect logs through filters."""
    loggers = [logging.getLogger(name) for name in _LOGGERS]
    for logger, each in product(loggers, filters):
        logger.addFilter(each)
    try:
        yield
    finally:
        for logger, each in product(loggers, filters):
            logger.removeFilter(each)


def quiet(verbose: bool = False) -> None:
    """Hold back Prefect's log for the rest of the process and in those that it starts, unless told otherwise.

    Warnings and errors still show.
    """
    if verbose or os.environ.get(VERBOSE):
        return
    for name, level in QUIET.items():
        logging.getLogger(name).setLevel(level)
        # Prefect sets levels when it is imported, and reads this first; so do the workers of Dask and Ray.
        variable = f"PREFECT_LOGGING_LOGGERS_{name.replace('.', '_').upper()}_LEVEL"
        os.environ.setdefault(variable, logging.getLevelName(level))


def _show_masked(_kind: type[BaseException], error: BaseException, _trace: TracebackType | None) -> None:
    """Print the traceback of an error that nobody caught."""
    print(masked("".join(traceback.format_exception(error))), end="", file=sys.stderr)


def _said(error: BaseException) -> str:
    """Return why a command ends, nothing where it is done or has printed a result."""
    if not isinstance(error, SystemExit):
        return f"{type(error).__name__}: {error}"
    cause = error.__context__  # the error that became an exit code
    if not error.code or isinstance(cause, CheckFailedError):
        return ""
    if cause is None:
        return f"exit code {error.code}"
    # A wrong option stands in this text of typer's errors alone.
    return str(getattr(cause, "format_message", cause.__str__)()) or type(cause).__name__


def _full_disk(error: BaseException) -> str:
    """Return which disk has no room, where the system says that one is full and not which."""
    if not (isinstance(error, OSError) and error.errno == errno.ENOSPC and error.filename is None):
        return ""
    places = [ROOT / name for name in ("", "data", "reports", ".prefect", ".dvc")]
    places.append(Path(os.environ.get("TMPDIR", "/tmp")))
    free = {place: shutil.disk_usage(place).free for place in places if place.is_dir()}
    least = min(free, key=lambda place: free[place])
    if free[least] > _ROOM:
        return "; free some space"  # on a disk that is none of these
    shown = least.relative_to(ROOT) if least.is_relative_to(ROOT) else least
    return f"; free some space: the disk of {shown} has {free[least] / 1e6:,.0f} MB left"


def _is_expected(error: BaseException | None) -> bool:
    """Tell whether an error is one that a person can act on."""
    return isinstance(error, EXPECTED) and not isinstance(error, _BUGS)
