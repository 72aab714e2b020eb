import subprocess
import sys
from importlib import import_module

import pytest

import avss_core


def test_the_measures_of_answers_are_at_hand() -> None:
    for name in avss_core.__all__:
        assert getattr(avss_core, name).__name__ == name
    for name, home in avss_core._HOMES.items():
        assert getattr(avss_core, name) is getattr(import_module(f"avss_core.{home}"), name)
    assert avss_core.accuracy_at([0.9, 0.1], [1, 0]) == 1.0


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="module 'avss_core' has no attribute 'accuracy'"):
        avss_core.accuracy  # noqa: B018


def test_the_package_alone_loads_nothing() -> None:
    code = "import avss_core, sys; print([name for name in ('numpy', 'torch') if name in sys.modules])"
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert shown.strip() == "[]"
