import subprocess
import sys

import pytest

from avss_core.hallucination.localization import READINGS
from avss_core.models.architectures import ARCHITECTURES
from avss_core.models.families import DECODERS, ENCODERS
from avss_core.registry import fields_in, lookup, names_in
from avss_core.scores.scores import SCORES


def test_names_are_those_of_the_table() -> None:
    assert names_in("avss_core.scores.scores", "SCORES") == list(SCORES)
    assert names_in("avss_core.hallucination.localization", "READINGS") == list(READINGS)
    written = names_in("avss_core.models.families", "DECODERS") + names_in(
        "avss_core.models.families", "ENCODERS"
    )
    assert written == [*DECODERS, *ENCODERS] == list(ARCHITECTURES)


def test_fields_are_those_of_the_records() -> None:
    sites = {name: score.site for name, score in SCORES.items()}
    assert fields_in("avss_core.scores.scores", "SCORES", "site") == sites


def test_names_are_read_without_torch() -> None:
    code = (
        "import sys; from avss_core.registry import names_in; names_in('avss_core.scores.scores', 'SCORES'); "
        "print('torch' in sys.modules)"
    )
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert shown == "False\n"


@pytest.mark.parametrize("module", ["avss_core.scores.scores", "avss_core.nowhere"])
def test_a_table_that_is_not_there_is_said(module: str) -> None:
    with pytest.raises(LookupError, match=f"{module} writes out no table READINGS"):
        names_in(module, "READINGS")


def test_near_names_are_given() -> None:
    with pytest.raises(LookupError, match="unknown score 'angula': did you mean angular"):
        lookup(SCORES, "angula", "score")
