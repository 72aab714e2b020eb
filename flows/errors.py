"""Errors that a person can act on: one message, no traceback, exit code 1. AVSS_TRACEBACK=1 shows it all."""

import logging
import os
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

EXPECTED = (ValueError, LookupError, OSError, ImportError)
"""What the code raises with a message that says what is wrong and what to do."""


class _FirstLine(logging.Filter):
    """Cut the traceback off an expected error's log record: the message follows once, at the end."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Shorten the record; never drop it."""
        if record.exc_info and isinstance(record.exc_info[1], EXPECTED):
            record.exc_info = None
            record.exc_text = None
        return True


@contextmanager
def readable_errors() -> Iterator[None]:
    """Print an expected error as one message and exit with code 1; let a bug show its traceback."""
    if os.environ.get("AVSS_TRACEBACK"):
        yield
        return
    warnings.simplefilter("ignore")
    for name in ("prefect.flow_runs", "prefect.task_runs", "prefect.engine", "prefect"):
        logging.getLogger(name).addFilter(_FirstLine())
    try:
        yield
    except EXPECTED as error:
        if isinstance(error, (KeyError, IndexError)):  # nobody raises these on purpose
            raise
        print(f"\nerror: {_message(error)}", file=sys.stderr)
        raise SystemExit(1) from None
    except KeyboardInterrupt:
        print("\ninterrupted; run the same command again to go on from the finished units", file=sys.stderr)
        raise SystemExit(130) from None


def _message(error: BaseException) -> str:
    """Return what an error says."""
    return str(error) or type(error).__name__


@contextmanager
def quiet() -> Iterator[None]:
    """Hold back Prefect's log of a command that ends in a table; warnings and errors still show."""
    logging.getLogger("prefect").setLevel(logging.WARNING)
    for name in ("prefect.flow_runs", "prefect.task_runs"):
        logging.getLogger(name).setLevel(logging.WARNING)
    yield
