import os

import pytest

from avss_core.settings.masking import TRACKING, masked, tracking_uri


@pytest.fixture(autouse=True)
def _own_environment(monkeypatch):
    for name in set(os.environ) - {"PYTEST_CURRENT_TEST"}:
        monkeypatch.delenv(name)
    for name in ("MLFLOW_TRACKING_USERNAME", "MLFLOW_TRACKING_PASSWORD"):  # which are set by what is tested
        monkeypatch.setenv(name, "")
        monkeypatch.delenv(name)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("no secret at all: a@b.org, 12:30", "no secret at all: a@b.org, 12:30"),
        ("https://user:pass@host:5000/x failed", "https://***@host:5000/x failed"),
        ("https://token@huggingface.co/x", "https://***@huggingface.co/x"),
        ("postgresql+psycopg2://u:p@ss@host/db and http://v:w@h", "postgresql+psycopg2://***@host/db and http://***@h"),
        ("http://127.0.0.1:4200/api?at=a@b", "http://127.0.0.1:4200/api?at=a@b"),
        ("key AKIAIOSFODNN7EXAMPLE of mine", "key *** of mine"),
        (f"hf_{'a1' * 17}, ghp_{'b2' * 18}", "***, ***"),
        ("hf_model, sk_layers", "hf_model, sk_layers"),
    ],
)  # fmt: skip
def test_what_shows_itself_as_a_secret_is_masked(text, shown):
    assert masked(text) == shown
    assert masked(shown) == shown


@pytest.mark.parametrize(
    "name", ["HF_TOKEN", "AWS_SECRET_ACCESS_KEY", "PREFECT_API_KEY", "MLFLOW_TRACKING_PASSWORD", "my_secret"]
)
def test_a_secret_of_the_environment_is_masked_wherever_it_stands(monkeypatch, name):
    monkeypatch.setenv(name, "canary-7f3a")
    assert masked("x=canary-7f3a/canary-7f3ab") == "x=***/***b"


def test_a_password_in_an_address_of_the_environment_is_masked_as_written_and_as_sent(monkeypatch):
    monkeypatch.setenv("SOME_URL", "https://user:can%40ry-7f3a@host/")
    assert masked("can%40ry-7f3a can@ry-7f3a user") == "*** *** user"


@pytest.mark.parametrize(
    ("name", "value"),
    [("TOKENIZERS_PARALLELISM", "disabled-here"), ("MONKEY", "long-enough-value"), ("HF_TOKEN", "short")],
)
def test_other_variables_and_short_values_are_no_secrets(monkeypatch, name, value):
    monkeypatch.setenv(name, value)
    assert masked(f"a {value}") == f"a {value}"


def test_the_server_s_user_and_password_leave_its_address(monkeypatch):
    monkeypatch.setenv(TRACKING, "https://us%20er:can%40ry-7f3a@host:5000/base")
    assert tracking_uri() == os.environ[TRACKING] == "https://host:5000/base"
    assert os.environ["MLFLOW_TRACKING_USERNAME"] == "us er"
    assert os.environ["MLFLOW_TRACKING_PASSWORD"] == "can@ry-7f3a"
    assert tracking_uri() == "https://host:5000/base"


@pytest.mark.parametrize(
    "address", ["http://127.0.0.1:5000", "sqlite:////tmp/a.db", "postgresql://u:p@host/db"]
)
def test_any_other_address_stays(monkeypatch, address):
    monkeypatch.setenv(TRACKING, address)
    assert tracking_uri() == address
    assert "MLFLOW_TRACKING_USERNAME" not in os.environ


@pytest.mark.parametrize("address", ["", None])
def test_without_an_address_there_is_none(monkeypatch, address):
    if address is not None:
        monkeypatch.setenv(TRACKING, address)
    assert tracking_uri() is None
