import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from avss_core import auroc, brier, brier_skill
from avss_core.metrics import calibration, litcab, summary
from avss_core.metrics.columns import answer_columns

FUNCTIONS = [
    answer_columns,
    auroc,
    brier,
    brier_skill,
    calibration.accuracy_at,
    calibration.accuracy_coverage_curve,
    calibration.coverage_at,
    calibration.ece,
    calibration.reliability,
    litcab.acc_at_litcab,
    litcab.cov_at_litcab,
    litcab.ece_litcab,
]


@pytest.mark.parametrize("function", FUNCTIONS)
@pytest.mark.parametrize(
    ("confidence", "correct", "message"),
    [
        ([0.5, math.nan], [0, 1], r"confidence\[1\] is nan; expected a number from 0 to 1"),
        ([0.5, 0.5, 1.5], [0, 1, 1], r"confidence\[2\] is 1\.5"),
        ([-0.25, 2.0], [0, 1], r"confidence\[0\] is -0\.25"),
        ([0.5, math.inf], [0, 1], r"confidence\[1\] is inf"),
        ([0.5, 0.5], [0, math.nan], r"correct\[1\] is nan; expected 0 or 1"),
        ([0.5, 0.5], [0.5, 1], r"correct\[0\] is 0\.5"),
        ([0.5, 0.5], [1, 2], r"correct\[1\] is 2\.0"),
        ([0.5, 0.5], [1], r"confidence has shape \(2,\), correct \(1,\)"),
        ([], [1], r"confidence has shape \(0,\), correct \(1,\)"),
        (np.zeros((2, 1)), np.zeros((2, 1)), r"confidence has shape \(2, 1\), correct \(2, 1\)"),
    ],
)
def test_bad_columns_are_refused(
    function: Callable[..., Any], confidence: Any, correct: Any, message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        function(confidence, correct)


def test_a_summary_refuses_bad_columns_too() -> None:
    with pytest.raises(ValueError, match=r"confidence\[0\] is nan"):
        summary.summarise([math.nan], [1], seed=0)
