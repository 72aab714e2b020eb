import pytest

from avss_core.metrics.right_answers import FEWEST_RIGHT, few_right


@pytest.mark.parametrize(
    ("n", "accuracy", "said"),
    [
        (50, 0.2, ""),
        (50, 0.18, "the dense model answers 9 of 50: too few for a share"),
        (1000, 0.009, "the dense model answers 9 of 1,000: too few for a share"),
        (10, 1.0, ""),
        (60, 10 / 60, ""),  # 60 * (10 / 60) is 10.0, a sum of rounded shares need not be
        (4, None, "the dense model answers 0 of 4: too few for a share"),
    ],
)
def test_a_share_needs_ten_right_answers(n: int, accuracy: float | None, said: str) -> None:
    assert few_right(n, accuracy) == said


def test_the_reason_of_the_number_by_hand() -> None:
    assert pytest.approx(0.05, abs=0.002) == 0.74**FEWEST_RIGHT
