"""When a share of an accuracy says something: of enough right answers."""

FEWEST_RIGHT = 10
"""Of fewer right answers a share says nothing.

Of 10, a model that keeps half reads from 20 to 80 % (95 % interval), and one that keeps all 10 may be one
that keeps 74 %: it does so once in 20 times (0.74 ** 10 = 0.05). With fewer, an interval spans more than
that, and a share below 90 % cannot be told from one above."""


def few_right(n: int, accuracy: float | None, did: str = "the dense model answers") -> str:
    """Return that a model has too few right answers for a share of them, "" if it has enough.

    Args:
        n: number of questions.
        accuracy: share of them with a right answer (0 to 1), None without one.
        did: who answered, as the sentence begins.

    Example:
        >>> few_right(50, 0.06)
        'the dense model answers 3 of 50: too few for a share'
        >>> few_right(50, 0.2)
        ''
    """
    right = round(n * (accuracy or 0.0))
    return "" if right >= FEWEST_RIGHT else f"{did} {right:,} of {n:,}: too few for a share"
