"""Errors that a person can act on: one message, exit code 1, no traceback (unless AVSS_TRACEBACK=1)."""

import errno
import json
import logging
import os
import select
import shutil
import signal
import sys
import traceback
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import product
from pathlib import Path
from types import TracebackType

from avss_core.settings.masking import masked
from avss_core.settings.places import PROJECT, ROOT

EXPECTED = (ValueError, LookupError, OSError, ImportError)
"""Errors that the code raises with a message that says what is wrong and what to do."""

_BUGS = (KeyError, IndexError)
"""Kinds of LookupError that the code never raises on purpose."""

EXTRAS = {"bitsandbytes": "bnb", "datasets": "hub", "gguf": "gguf", "lm_eval": "lm-eval", "zstandard": "hub"}
"""The extra of the distribution that brings a package."""

_INTERRUPTED = "interrupted; run the same command again to go on from the finished units"

_ENDED = ("Execution was aborted by an interrupt signal", "Execution was aborted by Python system exit call")
"""Prefect's words for a flow that a person or the system has ended."""

_ROOM = 100e6
"""Free bytes under which a disk counts as full: the file that did not fit is removed before the message."""

_LOGGERS = ("prefect", "prefect.engine", "prefect.flow_runs", "prefect.task_runs")

QUIET = {
    **dict.fromkeys(_LOGGERS, logging.WARNING),
    # Warns of each event not yet sent when the command ends; it is sent all the same.
    "EventsWorker": logging.ERROR,
    # The progress of a training.
    "prefect.training": logging.INFO,
}
"""Lowest level of Prefect's loggers, unless a command is verbose."""

VERBOSE = "AVSS_VERBOSE"
"""Environment variable that lets Prefect log every task."""


class CheckFailedError(ValueError):
    """A check failed, and its result has been printed."""


class _SaidOnce(logging.Filter):
    """Drop what Prefect logs of an expected end, for each task and flow: one message follows at the end."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Return whether the record says something new."""
        error = record.exc_info[1] if record.exc_info else None
        text = record.getMessage()
        ended = text.startswith("Finished in state Failed(") or any(end in text for end in _ENDED)
        return not _is_expected(error) and not ended


class _Masked(logging.Filter):
    """Mask secrets in what Prefect logs and keeps."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Change the record in place, and return true."""
        record.msg, record.args = masked(record.getMessage()), None
        if record.exc_info and record.exc_info[0]:
            record.exc_text = masked("".join(traceback.format_exception(*record.exc_info)).rstrip())
        return True


@contextmanager
def whole_output() -> Iterator[None]:
    """Bring what is printed to its reader before the context ends, and end quietly if the reader has gone.

    Raises:
        OSError: standard output is closed, or what it is sent to takes no more.
        SystemExit: the reader has gone; the exit code is that of SIGPIPE.
    """
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # takes this number, which no other file may get
    if sys.stderr is None:
        sys.stderr = open(os.devnull, "w")  # noqa: SIM115 - print would turn to standard output
    if sys.stdout is None:
        raise OSError("standard output is closed, and the result goes there; `> /dev/null` throws it away")
    try:
        try:
            yield
        finally:
            sys.stdout.flush()
    except (OSError, SystemExit) as end:
        # Typer turns a broken pipe into an exit code.
        error = end if isinstance(end, OSError) else end.__context__
        if not isinstance(error, OSError) or not _is_of_output(error):
            raise
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # for what is still held back
        if error.errno == errno.EPIPE:
            raise SystemExit(128 + signal.SIGPIPE) from None
        raise OSError(f"cannot write to standard output: {error.strerror}") from error


def _is_of_output(error: OSError) -> bool:
    """Tell whether an error is of standard output: nobody reads it, or it holds what it could not write."""
    if error.errno == errno.EPIPE:
        pipe = select.poll()
        pipe.register(1, 0)
        return bool(pipe.poll(0))
    try:
        sys.stdout.flush()
    except OSError as again:
        return again.errno == error.errno
    return False


@contextmanager
def error_object() -> Iterator[None]:
    """Print the error that ends the context as one JSON object, unless a result has been printed."""
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

    Secrets are masked in the message, the traceback and the log.
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
        said = masked(str(error)) or type(error).__name__
        print(f"error: {said}{_full_disk(error)}{_extra(error)}", file=sys.stderr)
        raise SystemExit(1) from None
    except KeyboardInterrupt:
        print(_INTERRUPTED, file=sys.stderr)
        raise SystemExit(130) from None
    except SystemExit as end:
        if end.code == 130:  # from typer
            print(_INTERRUPTED, file=sys.stderr)
        raise


@contextmanager
def _filtered(*filters: logging.Filter) -> Iterator[None]:
    """Put filters on Prefect's loggers."""
    loggers = [logging.getLogger(name) for name in _LOGGERS]
    for logger, each in product(loggers, filters):
        logger.addFilter(each)
    try:
        yield
    finally:
        for logger, each in product(loggers, filters):
            logger.removeFilter(each)


def quiet(verbose: bool = False) -> None:
    """Let Prefect log only warnings and errors, in this process and those it starts, unless it is verbose."""
    if verbose or os.environ.get(VERBOSE):
        return
    for name, level in QUIET.items():
        logging.getLogger(name).setLevel(level)
        # Prefect sets levels when it is imported, and reads this first; so do the workers of Dask and Ray.
        variable = f"PREFECT_LOGGING_LOGGERS_{name.replace('.', '_').upper()}_LEVEL"
        os.environ.setdefault(variable, logging.getLevelName(level))


def _show_masked(_kind: type[BaseException], error: BaseException, _trace: TracebackType | None) -> None:
    """Print the traceback of an uncaught error with secrets masked."""
    print(masked("".join(traceback.format_exception(error))), end="", file=sys.stderr)


def _said(error: BaseException) -> str:
    """Return why a command ends; an empty text if it succeeded or has printed a result."""
    if not isinstance(error, SystemExit):
        return f"{type(error).__name__}: {error}"
    cause = error.__context__  # the error that became an exit code
    if not error.code or isinstance(cause, CheckFailedError):
        return ""
    if cause is None:
        return f"exit code {error.code}"
    # Typer's errors name a wrong option in this text alone.
    return str(getattr(cause, "format_message", cause.__str__)()) or type(cause).__name__


def _extra(error: BaseException) -> str:
    """Return the extra that brings a package, for an error of one that is missing."""
    extra = EXTRAS.get(error.name or "") if isinstance(error, ModuleNotFoundError) else None
    return f"; the extra brings it: pip install 'avss-core[{extra}]'" if extra else ""


def _full_disk(error: BaseException) -> str:
    """Return which disk is full, for an error of the system that does not name it."""
    if not (isinstance(error, OSError) and error.errno == errno.ENOSPC and error.filename is None):
        return ""
    places = [ROOT, ROOT / ".prefect", *(PROJECT / name for name in ("", "data", "reports", ".dvc"))]
    places.append(Path(os.environ.get("TMPDIR", "/tmp")))
    free = {place: shutil.disk_usage(place).free for place in places if place.is_dir()}
    least = min(free, key=lambda place: free[place])
    if free[least] > _ROOM:
        return "; free some space"  # another disk
    shown = least.relative_to(PROJECT) if least.is_relative_to(PROJECT) else least
    return f"; free some space: the disk of {shown} has {free[least] / 1e6:,.0f} MB left"


def _is_expected(error: BaseException | None) -> bool:
    """Tell whether an error is one that a person can act on."""
    return isinstance(error, EXPECTED) and not isinstance(error, _BUGS)
