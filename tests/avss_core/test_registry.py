import subprocess
import sys

import pytest

from avss_core.hallucination.localization import READINGS
from avss_core.registry import CONTROL_NAMES, READING_NAMES, SCORE_SITES, lookup, require_declared
from avss_core.scores.scores import SCORES
from avss_core.training.mitigation.controls import CONTROLS


def test_names_are_those_of_the_tables() -> None:
    assert {name: score.site for name, score in SCORES.items()} == SCORE_SITES
    assert list(READINGS) == READING_NAMES
    assert list(CONTROLS) == CONTROL_NAMES


def test_names_are_there_without_torch() -> None:
    code = "import sys; from avss_core.registry import SCORE_SITES; print('torch' in sys.modules)"
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert shown == "False\n"


@pytest.mark.parametrize(
    ("written", "declared", "message"),
    [
        (["a", "b"], ["a"], "TABLE and avss_core/registry.py disagree about b"),
        (["a"], ["a", "b"], "disagree about b"),
        ([("a", "update")], [("a", None)], r"disagree about \('a', 'update'\)"),
        (["a", "b"], ["b", "a"], "disagree about their order"),
    ],
)
def test_a_table_that_differs_from_its_names_is_refused(
    written: list[object], declared: list[object], message: str
) -> None:
    with pytest.raises(LookupError, match=message):
        require_declared(written, declared, "TABLE")


def test_near_names_are_given() -> None:
    with pytest.raises(LookupError, match="unknown score 'angula': did you mean angular"):
        lookup(SCORES, "angula", "score")
