"""Fixtures that load params.yaml with changes, or see them refused."""

from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]
PARAMS = ROOT / "params.yaml"
TEXT = PARAMS.read_text(encoding="utf-8")


@pytest.fixture
def load():
    from avss_core.settings.reading import load_params

    def call(*changes, path=PARAMS):
        return load_params(path, list(changes))

    return call


@pytest.fixture
def refused(load):
    """The lines of the message with which changes are refused."""

    def call(*changes, path=PARAMS):
        with pytest.raises(ValueError, match=r"^--set|: ") as error:
            load(*changes, path=path)
        return str(error.value).splitlines()

    return call


@pytest.fixture
def changed(tmp_path):
    """A file like params.yaml with one text replaced."""

    def write(before, after):
        assert TEXT.count(before) == 1
        path = tmp_path / "params.yaml"
        path.write_text(TEXT.replace(before, after), encoding="utf-8")
        return path

    return write
