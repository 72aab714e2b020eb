"""How the core tells its caller that work was done, without printing."""

from collections.abc import Callable

Progress = Callable[[int], None]
"""Called with the number of samples just finished."""


def no_progress(_done: int) -> None:
    """Show nothing."""
