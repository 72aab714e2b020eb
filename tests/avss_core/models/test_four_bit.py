"""Weights of four bits can be scored and evaluated, and nothing else."""

import importlib.util
import json
import shutil

import pytest
import torch

HAS_BITSANDBYTES = importlib.util.find_spec("bitsandbytes") is not None


@pytest.fixture
def marked(tiny, tokenizer, tmp_path):
    """A checkpoint whose configuration says that its weights have four bits."""
    tiny("llama", layers=3).save_pretrained(tmp_path / "marked")
    tokenizer.save_pretrained(tmp_path / "marked")
    path = tmp_path / "marked" / "config.json"
    four = {"quantization_config": {"quant_method": "bitsandbytes", "load_in_4bit": True}}
    path.write_text(json.dumps(json.loads(path.read_text(encoding="utf-8")) | four), encoding="utf-8")
    return tmp_path / "marked"


def test_without_bitsandbytes_the_package_is_named(marked, monkeypatch):
    from avss_core.cli.errors import EXTRAS
    from avss_core.models import refusals
    from avss_core.models.loading import load_config

    monkeypatch.setattr(refusals, "find_spec", lambda _name: None)
    with pytest.raises(ModuleNotFoundError, match="marked has weights of 4 bits, which") as error:
        load_config(str(marked))
    assert EXTRAS[error.value.name] == "bnb"


def test_other_weights_of_bitsandbytes_are_refused(marked):
    from avss_core.models.loading import load_config

    path = marked / "config.json"
    path.write_text(
        path.read_text(encoding="utf-8").replace("load_in_4bit", "load_in_8bit"), encoding="utf-8"
    )
    with pytest.raises(ValueError, match=r"is quantized .*: bitsandbytes"):
        load_config(str(marked))


def test_four_bits_are_neither_pruned_nor_trained_nor_written(marked, tmp_path, monkeypatch):
    from avss_core.jobs.checkpoint_pruning import prune_model
    from avss_core.jobs.preparation import prepare_model
    from avss_core.models import refusals
    from avss_core.models.loading import load_config
    from avss_core.models.refusals import refuse_four_bit

    monkeypatch.setattr(refusals, "find_spec", lambda _name: True)
    new = {"dtype": "float32", "folder": tmp_path / "new"}
    with pytest.raises(ValueError, match=r"can be scored and evaluated, not pruned: give the checkpoint"):
        prune_model(str(marked), [1], provenance={}, **new)
    with pytest.raises(ValueError, match=r"not written into one: `hf download"):
        prepare_model(str(marked), None, **new)
    with pytest.raises(ValueError, match="not trained"):
        refuse_four_bit(load_config(str(marked)), "trained")
    assert not (tmp_path / "new").exists()


@pytest.mark.skipif(not HAS_BITSANDBYTES, reason="the extra bnb is not installed")
def test_a_model_of_four_bits_is_scored_and_answers(tiny, tokenizer, tmp_path):
    from transformers import AutoModelForCausalLM, BitsAndBytesConfig

    from avss_core.evaluation.generation import answer_questions
    from avss_core.models.loading import load_model
    from avss_core.scores.layer_scores import score_layers

    tiny("llama", layers=3, hidden_size=64, intermediate_size=128).save_pretrained(tmp_path / "dense")
    how = BitsAndBytesConfig(load_in_4bit=True, bnb_4bit_compute_dtype=torch.float32)
    written = AutoModelForCausalLM.from_pretrained(
        tmp_path / "dense", quantization_config=how, device_map={"": "cpu"}
    )
    written.save_pretrained(tmp_path / "four")
    shutil.copy(tmp_path / "dense" / "generation_config.json", tmp_path / "four")
    four, ids = load_model(str(tmp_path / "four")), torch.tensor([[1, 2, 3]])
    assert torch.equal(four(ids).logits, written(ids).logits)
    assert not torch.equal(four(ids).logits, load_model(str(tmp_path / "dense"))(ids).logits)
    for name in ("avss", "traversal"):
        scores = score_layers(four, tokenizer, ["A text of words. " * 20], name, tokens=128, window=32)
        assert scores.values.isfinite().all()
    assert len(answer_questions(four, tokenizer, ["Who? "], max_new_tokens=2)) == 1
