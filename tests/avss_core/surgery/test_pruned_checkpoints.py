from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedModel, PreTrainedTokenizerFast

from avss_core.files.writing import read_json
from avss_core.models.loading import load_model
from avss_core.surgery import certificate, checks
from avss_core.surgery.certificate import verify
from avss_core.surgery.file_checks import Check
from avss_core.surgery.pruned_checkpoints import save_pruned


@pytest.fixture
def here(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make the checks in this process; test_fresh_process.py and the library's page have real ones."""
    monkeypatch.setattr(certificate, "inspect_afresh", certificate.inspect_with_logits)


@pytest.mark.usefixtures("here")
def test_what_is_saved_is_the_model_without_the_layers(
    tiny_model: PreTrainedModel, tokenizer: PreTrainedTokenizerFast, tmp_path: Path
) -> None:
    folder = tmp_path / "pruned"
    found = save_pruned(tiny_model, tokenizer, [4, 1], str(folder))
    assert found == read_json(folder / "certificate.json")
    assert found["layer_map"] == [0, 2, 3, 5]
    assert found["provenance"]["removed"] == [1, 4]
    assert found["provenance"]["model"] == tiny_model.config.model_type
    assert all(check.passed for check in verify(str(folder)))
    plain = AutoModelForCausalLM.from_pretrained(folder)
    assert sum(p.numel() for p in plain.parameters()) == found["parameters"]
    assert found["provenance"]["dense_parameters"] == sum(p.numel() for p in tiny_model.parameters())


@pytest.mark.usefixtures("here")
def test_layers_keep_the_numbers_of_the_dense_model(checkpoint: Path, tmp_path: Path) -> None:
    save_pruned(load_model(str(checkpoint)), None, [1, 4], tmp_path / "once")
    twice = save_pruned(load_model(str(tmp_path / "once")), None, [0], tmp_path / "twice")
    assert twice["layer_map"] == [2, 3, 5]
    assert twice["provenance"]["model"] == "once"
    assert str(tmp_path) not in (tmp_path / "twice" / "certificate.json").read_text()
    with pytest.raises(
        ValueError, match="The checkpoint was pruned before: its layers 0 to 3 were 0, 2, 3, 5"
    ):
        save_pruned(load_model(str(tmp_path / "once")), None, [4], tmp_path / "thrice")


@pytest.mark.usefixtures("here")
def test_a_folder_is_replaced_only_where_that_is_said(tiny_llama: PreTrainedModel, tmp_path: Path) -> None:
    save_pruned(tiny_llama, None, [0], tmp_path / "pruned")
    with pytest.raises(FileExistsError, match="pruned exists already"):
        save_pruned(tiny_llama, None, [1], tmp_path / "pruned")
    found = save_pruned(tiny_llama, None, [1], tmp_path / "pruned", replace=True)
    assert found["layer_map"] == [0, 2, 3, 4, 5]


def test_nothing_is_left_where_the_checks_fail(
    tiny_llama: PreTrainedModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(model: PreTrainedModel) -> list[float]:
        return torch.ones(model.config.vocab_size).tolist()

    monkeypatch.setattr(certificate, "inspect_afresh", certificate.inspect_with_logits)
    monkeypatch.setattr(certificate, "probe_logits", broken)
    with pytest.raises(ValueError, match=r"does not hold what it promises: logits"):
        save_pruned(tiny_llama, None, [0], tmp_path / "pruned")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.filterwarnings("ignore:model type 'bamba' is not in:UserWarning")
def test_a_cache_without_a_layer_of_attention_is_said_and_no_traceback(tmp_path: Path) -> None:
    sizes = {"hidden_size": 32, "intermediate_size": 64, "num_attention_heads": 4, "num_key_value_heads": 2}
    mamba = {"mamba_n_heads": 8, "mamba_d_head": 8, "attn_layer_indices": []}
    config = AutoConfig.for_model("bamba", vocab_size=260, num_hidden_layers=3, **sizes, **mamba)
    with pytest.raises(
        ValueError, match=r"bamba models cannot be certified .*the model does not run with it"
    ):
        save_pruned(AutoModelForCausalLM.from_config(config).eval(), None, [1], tmp_path / "model")


@pytest.mark.usefixtures("here")
@pytest.mark.filterwarnings("ignore:model type")
@pytest.mark.parametrize(
    ("family", "settings"),
    [
        ("openai-gpt", {"n_embd": 32, "n_layer": 3, "n_head": 4, "n_positions": 128}),
        ("rwkv", {"hidden_size": 32, "num_hidden_layers": 3, "context_length": 128, "intermediate_size": 64}),
    ],
)
def test_a_family_without_a_cache_is_checked_without_one(family: str, settings: dict, tmp_path: Path) -> None:
    config = AutoConfig.for_model(family, vocab_size=260, pad_token_id=1, bos_token_id=0, **settings)
    found = save_pruned(AutoModelForCausalLM.from_config(config).eval(), None, [1], tmp_path / "pruned")
    (check,) = [check for check in found["checks"] if check["name"] == "cache"]
    assert check == {"name": "cache", "passed": True, "detail": f"{family} models take none"}


@pytest.mark.filterwarnings("ignore:model type")
def test_a_family_that_fails_by_itself_is_refused_before_work(
    tiny_llama: PreTrainedModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    failed = Check("cache", False, "logits differ by 1.2e-03 at most")
    monkeypatch.setattr(checks, "cache_check", lambda model: failed)
    monkeypatch.setattr(checks, "ARCHITECTURES", {})
    with pytest.raises(ValueError, match=r"llama models cannot be certified .* all its layers \(logits diff"):
        save_pruned(tiny_llama, None, [1], tmp_path / "pruned")
    assert not (tmp_path / "pruned").exists()


def test_logits_that_are_not_finite_are_called_so(tiny: Callable[..., PreTrainedModel]) -> None:
    model = tiny("llama")
    with torch.no_grad():
        model.model.layers[2].mlp.up_proj.weight[0, 0] = float("nan")
    for promised in (None, [0.0] * 260):
        assert checks._logit_check(checks.probe_logits(model), promised, torch.float32) == Check(
            "logits", False, "260 of 260 are NaN or infinite: weights are, or torch.float32 overflows"
        )
    assert checks.cache_check(model).detail == "not compared: without it logits are NaN or infinite too"
