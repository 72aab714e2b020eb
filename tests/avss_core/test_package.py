import subprocess
import sys

import pytest

import avss_core


def test_every_public_name_is_at_hand_and_comes_from_one_module() -> None:
    assert len(avss_core.__all__) == len(set(avss_core.__all__)) > 20
    for name in avss_core.__all__:
        assert getattr(avss_core, name).__name__ == name
    assert avss_core.accuracy_at([0.9, 0.1], [1, 0]) == 1.0


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="avss_core attribute accuracy"):
        avss_core.accuracy  # noqa: B018


def test_the_package_alone_loads_nothing() -> None:
    code = "import avss_core, sys; print([name for name in ('numpy', 'torch') if name in sys.modules])"
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert shown.strip() == "[]"
