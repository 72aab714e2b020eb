"""A command in several processes, as `accelerate launch` starts them: one of them speaks."""

import os
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout

SHARED = ("heal", "mitigate")
"""Commands of which several processes share the work."""


def follows() -> bool:
    """Tell whether another process of this command speaks for this one."""
    return _launched() and os.environ.get("RANK", "0") != "0"


@contextmanager
def one_voice() -> Iterator[None]:
    """Print nothing within the context unless this process speaks; an error that ends it is still shown."""
    if not follows():
        yield
        return
    with open(os.devnull, "w") as nothing, redirect_stdout(nothing), redirect_stderr(nothing):
        yield


def refuse_launched(command: str | None) -> None:
    """Raise ValueError for several processes of a command that would each do all of its work."""
    if _launched() and command not in SHARED:
        raise ValueError(
            f"several processes share the work of avss {' and avss '.join(SHARED)} alone: start "
            f"avss {command} without accelerate launch"
        )


def _launched() -> bool:
    return "TORCHELASTIC_RUN_ID" in os.environ
