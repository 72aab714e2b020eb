"""Whether a repair changes the order of the choices, in a sentence."""

import pytest

from tasks.report.words.after_repair import repaired_order

CHANGE = {
    "tokens": 2048,
    "left_out": "",
    "choices": 8,
    "tau": 0.5,
    "cheapest_before": ["traversal"],
    "cheapest_after": ["avss", "avss_input"],
}
FITTED = "before and after a repair in closed form on 2,048 tokens is"


@pytest.mark.parametrize(
    ("known", "sentence"),
    [
        (
            {},
            f"Kendall's tau between the losses of the 8 choices {FITTED} 0.50: their order changes, and the "
            "lowest loss is that of avss and avss_input, and was that of traversal.",
        ),
        (
            {"tau": 1.0, "cheapest_after": ["traversal"]},
            f"Kendall's tau between the losses of the 8 choices {FITTED} 1.00: their order stays the same, "
            "and the lowest loss is still that of traversal.",
        ),
        (
            {"tau": None, "choices": 1, "cheapest_after": ["traversal"]},
            "After a repair in closed form on 2,048 tokens the lowest loss is still that of traversal.",
        ),
        (
            {"left_out": "cannot repair a bert model", "choices": 0, "tau": None},
            "The costs after repair are left out: cannot repair a bert model.",
        ),
    ],
)
def test_the_sentence_says_what_became_of_the_order(known, sentence):
    assert repaired_order({"after_repair": {**CHANGE, **known}}) == sentence


def test_without_a_repair_nothing_is_said():
    assert repaired_order({}) == ""
