"""Columns of numbers from a list, an array or a tensor, checked before a figure is computed."""

import math
from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray
from torch import Tensor, float64

Column: TypeAlias = Sequence[float | int] | NDArray[Any] | Tensor
"""One value a row."""

Values: TypeAlias = NDArray[np.float64]


def as_array(column: Column) -> NDArray[Any]:
    """Return a column as an array."""
    if isinstance(column, Tensor):
        # NumPy has no bfloat16 and reads no tensor on a device or in a graph.
        return column.detach().to("cpu", dtype=float64).numpy()
    return np.asarray(column)


def answer_columns(confidence: Column, correct: Column) -> tuple[Values, Values]:
    """Return both columns as float64.

    Raises:
        ValueError: a confidence is not 0 to 1, a verdict is not 0 or 1, or their numbers differ.
    """
    sure, right = (np.asarray(as_array(column), dtype=np.float64) for column in (confidence, correct))
    if sure.ndim != 1 or sure.shape != right.shape:
        raise ValueError(f"confidence has shape {sure.shape}, correct {right.shape}; expected one equal axis")
    _require("confidence", sure, (sure >= 0) & (sure <= 1), "a number from 0 to 1")
    _require("correct", right, (right == 0) | (right == 1), "0 or 1")
    return sure, right


def figure(rows: Callable[[Values, Values], Values], confidence: Column, correct: Column) -> float:
    """Return a figure of answers, nan without answers.

    Args:
        rows: takes both columns with a row for each group of answers, and returns a figure for each.
        confidence: 0 to 1, one an answer.
        correct: 0 or 1, one an answer.

    Raises:
        ValueError: a column is not like this.
    """
    sure, right = answer_columns(confidence, correct)
    return float(rows(sure[None], right[None])[0]) if sure.size else math.nan


def _require(name: str, column: Values, valid: NDArray[np.bool_], expected: str) -> None:
    """Raise ValueError for a column with an invalid value, and name its index."""
    if not valid.all():
        index = int(valid.argmin())
        raise ValueError(f"{name}[{index}] is {column[index]}; expected {expected}")
