"""A checkpoint whose tokenizer llama.cpp can repeat, and a Hub on this machine."""

import pytest

from tests.vocabularies import SIZE, byte_pairs


@pytest.fixture(scope="session")
def spoken(tiny, tmp_path_factory):
    folder = tmp_path_factory.mktemp("spoken") / "spoken"
    tiny("llama", vocab_size=SIZE).save_pretrained(folder)
    byte_pairs("digit").save_pretrained(folder)
    return folder


@pytest.fixture
def local_hub(tmp_path, monkeypatch):
    """A server as `tests.local_hub.serve` says, which takes uploads from the token in the environment."""
    from huggingface_hub import constants, hf_api

    from tests.local_hub import serve

    with serve(tmp_path) as server:
        server.token = f"hf_{'t' * 30}"
        monkeypatch.setenv("HF_TOKEN", server.token)
        for module in (constants, hf_api.constants):
            monkeypatch.setattr(module, "ENDPOINT", server.address)
            monkeypatch.setattr(module, "HF_HUB_OFFLINE", False)
            monkeypatch.setattr(module, "HF_HUB_DISABLE_XET", True)
        yield server
