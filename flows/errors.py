"""Errors that a person can act on: one message, no traceback, exit code 1. AVSS_TRACEBACK=1 shows it all."""

import logging
import os
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

EXPECTED = (ValueError, LookupError, OSError, ImportError)
"""What the code raises with a message that says what is wrong and what to do."""

_BUGS = (KeyError, IndexError)
"""Kinds of LookupError that nobody raises on purpose."""

_LOGGERS = ("prefect", "prefect.engine", "prefect.flow_runs", "prefect.task_runs")

QUIET = {
    **dict.fromkeys(_LOGGERS, logging.WARNING),
    # Warns of every event that is not sent yet when the command is done; it is sent all the same.
    "EventsWorker": logging.ERROR,
}
"""Loggers of Prefect, and the least that they say in a command that ends in a table."""


class _SaidOnce(logging.Filter):
    """Drop what Prefect logs of an expected error, once a task and a flow: the message follows at the end."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Return whether the record says something new."""
        error = record.exc_info[1] if record.exc_info else None
        return not _is_expected(error) and not record.getMessage().startswith("Finished in state Failed(")


@contextmanager
def readable_errors() -> Iterator[None]:
    """Print an expected error as one message and exit with code 1; let a bug show its traceback."""
    if os.environ.get("AVSS_TRACEBACK"):
        yield
        return
    said_once = _SaidOnce()
    for name in _LOGGERS:
        logging.getLogger(name).addFilter(said_once)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    except EXPECTED as error:
        if not _is_expected(error):
            raise
        print(f"error: {str(error) or type(error).__name__}", file=sys.stderr)
        raise SystemExit(1) from None
    except KeyboardInterrupt:
        print("\ninterrupted; run the same command again to go on from the finished units", file=sys.stderr)
        raise SystemExit(130) from None
    finally:
        for name in _LOGGERS:
            logging.getLogger(name).removeFilter(said_once)


def quiet() -> None:
    """Hold back Prefect's log for the rest of the process; warnings and errors still show."""
    for name, level in QUIET.items():
        logging.getLogger(name).setLevel(level)


def _is_expected(error: BaseException | None) -> bool:
    """Tell whether an error is one that a person can act on."""
    return isinstance(error, EXPECTED) and not isinstance(error, _BUGS)
