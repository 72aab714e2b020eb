"""`avss export` as a person meets it."""

from pathlib import Path

import pytest
from transformers import AutoModelForCausalLM

from avss_core.models.loading import load_model


def test_export_writes_a_file_that_is_the_checkpoint(avss, spoken):
    printed = avss("export", spoken, "--gguf", "--out", "made.gguf")
    (row,) = printed.rows
    assert (row["file"], row["architecture"], row["dtype"]) == ("made.gguf", "llama", "float32")
    assert (row["layers"], row["pre_tokenizer"]) == ("6", "smollm")
    assert int(row["bytes"]) == Path("made.gguf").stat().st_size
    assert "made.gguf: read back by transformers, its logits differ by 0.0e+00 of the largest" in printed.err
    expected = load_model(str(spoken)).state_dict()
    assert all(tensor.equal(expected[name]) for name, tensor in load_model("made.gguf").state_dict().items())


def test_json_holds_the_row_and_what_was_set_by_hand(avss, spoken):
    record = avss("export", spoken, "--gguf", "--out", "made.gguf", "--dtype", "float16", "--json").json
    assert (record["folder"], record["file"], record["dtype"]) == (str(spoken), "made.gguf", "float16")
    assert record["set_by_hand"] == []
    assert record["logit_difference"] <= record["tolerance"]


def test_what_was_pruned_is_written_beside_its_folder(avss, spoken):
    assert avss("prune", spoken, "--layers", "1,4", "--out", "pruned").code == 0
    (row,) = avss("export", "pruned", "--gguf").rows
    assert (row["layers"], Path(row["file"])) == ("4", Path("pruned.gguf").resolve())
    pruned = AutoModelForCausalLM.from_pretrained("pruned").state_dict()
    read = load_model("pruned.gguf").state_dict()
    assert pruned.keys() == read.keys()
    assert all(tensor.equal(read[name]) for name, tensor in pruned.items())


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--out", "made.gguf"], "say what to write: --gguf is the one format there is"),
        (["--gguf", "--out", "made.bin"], "--out made.bin: the name of a GGUF file ends in .gguf"),
        (["--gguf", "--out", "made.gguf", "--dtype", "q4"], "cannot be written as q4; known: float32"),
        (["--gguf", "--out", "made.gguf", "--json", "--dtype", "q4"], "cannot be written as q4"),
    ],
)
def test_what_cannot_be_done_is_told_and_nothing_is_written(refused, spoken, arguments, message):
    assert message in refused("export", spoken, *arguments)


def test_a_family_without_the_format_is_refused(refused, tiny, tmp_path):
    tiny("opt").save_pretrained(tmp_path / "opt")
    (tmp_path / "opt" / "tokenizer.json").write_text("{}")
    message = refused("export", tmp_path / "opt", "--gguf", "--out", "made.gguf")
    assert "opt models are not written as GGUF; families that are: gemma2, gemma3_text, gpt2" in message


def test_an_existing_file_stays(avss, spoken):
    Path("made.gguf").write_text("mine")
    printed = avss("export", spoken, "--gguf", "--out", "made.gguf")
    assert (printed.code, Path("made.gguf").read_text()) == (1, "mine")
    assert "made.gguf exists already" in printed.err
