"""Which ratios of speed are said to be certain, and how."""

import pytest

from avss_core.jobs.speed_wording import ratio_text, speed_lines

UNSURE = "not certain: the machine was busy"


@pytest.mark.parametrize(
    ("low", "high", "certain"),
    [
        (1.3, 1.43, True),
        (0.7, 0.8, True),
        (1.0, 1.2, False),
        (0.9, 1.0, False),
        (2.0, 3.0, True),
        (2.0, 3.1, False),
    ],
)
def test_a_ratio_is_certain_where_all_rounds_agree(low, high, certain):
    said = ratio_text({"value": low, "low": low, "high": high}, " times")
    assert said == f"{low:.2f} times [{low:.2f}, {high:.2f}]" + ("" if certain else f", {UNSURE}")


def test_a_line_has_every_ratio_with_its_interval():
    sure, unsure = {"value": 1.34, "low": 1.27, "high": 1.51}, {"value": 1.05, "low": 0.48, "high": 1.4}
    record = {"base": "dense", "ratios": {"pruned": {"prefill": sure, "decode": {"1": sure, "8": unsure}}}}
    assert speed_lines(record) == [
        "Speed of pruned over dense: prefill 1.34 [1.27, 1.51]; decode (batch 1) 1.34 [1.27, 1.51]; "
        f"decode (batch 8) 1.05 [0.48, 1.40], {UNSURE}"
    ]


def test_what_was_switched_off_is_said():
    assert speed_lines({"enabled": False}) == ["Speed: not measured (speed.enabled)"]


def test_one_round_is_not_called_certain():
    assert ratio_text({"value": 1.35, "low": 1.35, "high": 1.35}) == "1.35, not certain: one round"
