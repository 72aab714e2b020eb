import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import (
    AutoConfig,
    AutoModel,
    AutoModelForCausalLM,
    AutoModelForSequenceClassification,
    PreTrainedModel,
    PreTrainedTokenizerFast,
)

from avss_core.files.digests import digest_tensors
from avss_core.files.writing import read_json, write_json
from avss_core.models.architectures import block_path, blocks
from avss_core.models.families import DECODERS
from avss_core.models.older_keys import OLDEST
from avss_core.models.sizes import parameter_bytes, parameter_count
from avss_core.surgery import certificate, checks, file_checks
from avss_core.surgery.certificate import (
    CERTIFICATE,
    inspect_with_logits,
    kept_source,
    verify,
    write_certified,
)
from avss_core.surgery.checks import NEED_WEIGHTS
from avss_core.surgery.numbering import layer_map
from avss_core.surgery.probe import Continuation, greedy
from avss_core.surgery.pruning import prune

REMOVED = [0, 2, 3]
KEPT = [1, 4, 5]
FULL, SLIDING = "full_attention", "sliding_attention"
LAYER_TYPES = [FULL, SLIDING, SLIDING, FULL, SLIDING, FULL]  # kept: sliding, sliding, full
GREEN = [
    "no pickle and no remote code",
    "configuration",
    "stored tensors",
    "tensors equal to the source",
    "loads with transformers",
    "depth",
    "parameters",
    "logits",
    "cache",
    "tied weights",
    "tokenizer",
]


@pytest.fixture
def here(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make the checks in this process, where a fresh one is not what is tested."""
    monkeypatch.setattr(certificate, "inspect_afresh", inspect_with_logits)


def write(
    dense: PreTrainedModel, folder: Path, tokenizer: PreTrainedTokenizerFast | None = None
) -> dict[str, Any]:
    source = kept_source(dense.state_dict(), block_path(dense), KEPT)
    return write_certified(
        prune(dense, REMOVED), tokenizer, folder, source=source, layer_map=KEPT, provenance={"model": "tiny"}
    )


def failed(folder: Path) -> set[str]:
    return {check.name for check in inspect_with_logits(folder)[0] if not check.passed}


def edit_json(path: Path, change: Callable[[Any], Any]) -> None:
    write_json(path, change(read_json(path)))


def edit_tensors(folder: Path, change: Callable[[dict[str, torch.Tensor]], object]) -> None:
    path = folder / "model.safetensors"
    tensors = load_file(path)
    change(tensors)
    save_file(tensors, path, metadata={"format": "pt"})


@pytest.fixture(scope="module")
def template(tiny: Any, tokenizer: PreTrainedTokenizerFast, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A certified checkpoint of a family whose layers are of two kinds."""
    folder = tmp_path_factory.mktemp("certified") / "model"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(certificate, "inspect_afresh", inspect_with_logits)
        write(tiny("qwen2", layer_types=LAYER_TYPES), folder, tokenizer)
    assert failed(folder) == set()
    return folder


@pytest.fixture
def written(template: Path, tmp_path: Path) -> Path:
    """A copy of the certified checkpoint, to be broken."""
    return Path(shutil.copytree(template, tmp_path / "written"))


def test_a_pruned_model_is_certified_by_a_fresh_process(
    tiny_llama: PreTrainedModel,
    tokenizer: PreTrainedTokenizerFast,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    folder = tmp_path / "model"
    # Blind this process to every tensor: what is green below was seen by another.
    monkeypatch.setattr(file_checks, "_digests", lambda files: {})
    found = write(tiny_llama, folder, tokenizer)
    assert failed(folder) == {"stored tensors"}
    assert [(check["name"], check["passed"]) for check in found["checks"]] == [(name, True) for name in GREEN]
    assert read_json(folder / CERTIFICATE) == found
    assert (found["layer_map"], found["provenance"]) == (KEPT, {"model": "tiny"})
    pruned = prune(tiny_llama, REMOVED)
    assert (found["parameters"], found["bytes"]) == (parameter_count(pruned), parameter_bytes(pruned))
    assert layer_map(folder, 3) == KEPT
    assert found["left_out"] == []
    assert found["transformers"] == OLDEST


@pytest.mark.usefixtures("here")
@pytest.mark.parametrize("family", sorted(DECODERS))
@pytest.mark.parametrize("tied", [True, False])
def test_every_family_is_green(tiny: Any, tmp_path: Path, family: str, tied: bool) -> None:
    write(tiny(family, tie_word_embeddings=tied), tmp_path / "model")
    checks = inspect_with_logits(tmp_path / "model")[0]
    assert [check.name for check in checks] == GREEN
    assert all(check.passed for check in checks)


@pytest.mark.usefixtures("here")
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_is_green_and_its_cache_is_compared_without_near_ties(
    tiny: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, dtype: torch.dtype
) -> None:
    seen: list[tuple[torch.dtype, set[torch.dtype]]] = []

    def watched(model: PreTrainedModel, cached: bool) -> Continuation:
        seen.append((model.dtype, {tensor.dtype for tensor in blocks(model).parameters()}))
        return greedy(model, cached=cached)

    monkeypatch.setattr(checks, "greedy", watched)
    write(tiny("qwen2").to(dtype), tmp_path / "model")
    assert failed(tmp_path / "model") == set()
    # What is outside the blocks is in float32; a block is while it runs, so that memory stays what it was.
    assert all(found == (torch.float32, {dtype}) for found in seen)
    assert len(seen) == 4


@pytest.mark.usefixtures("here")
@pytest.mark.filterwarnings("ignore:model type 'helium' is not in:UserWarning")
def test_a_family_that_is_not_known_is_certified_too(tmp_path: Path) -> None:
    sizes = {"hidden_size": 32, "intermediate_size": 64, "num_attention_heads": 4, "num_key_value_heads": 2}
    config = AutoConfig.for_model("helium", vocab_size=260, num_hidden_layers=6, head_dim=8, **sizes)
    write(AutoModelForCausalLM.from_config(config).eval(), tmp_path / "model")
    assert failed(tmp_path / "model") == set()


def swap_layers(tensors: dict[str, torch.Tensor]) -> None:
    first, second = (f"model.layers.{i}.mlp.up_proj.weight" for i in (0, 2))
    tensors[first], tensors[second] = tensors[second].clone(), tensors[first].clone()


@pytest.mark.parametrize(
    "change",
    [
        swap_layers,
        lambda tensors: tensors.pop("model.layers.1.self_attn.q_proj.bias"),
        lambda tensors: tensors.update({"model.layers.3.mlp.up_proj.weight": torch.zeros(64, 32)}),
        lambda tensors: tensors.update({"model.norm.weight": tensors["model.norm.weight"].bfloat16()}),
        lambda tensors: tensors["model.norm.weight"].view(torch.int32)[7].add_(1),
    ],
    ids=["swapped", "missing", "added", "other dtype", "one bit"],
)
def test_a_file_with_other_tensors_is_red(written: Path, change: Callable[[Any], Any]) -> None:
    edit_tensors(written, change)
    assert failed(written) == {"stored tensors"}


def test_a_missing_tensor_is_red_though_another_has_its_values(here: None, tiny: Any, tmp_path: Path) -> None:
    dense = tiny("llama")
    with torch.no_grad():
        for name, parameter in dense.named_parameters():
            if "layernorm" in name:
                parameter.fill_(1)
    write(dense, tmp_path / "model")
    edit_tensors(tmp_path / "model", lambda tensors: tensors.pop("model.layers.1.input_layernorm.weight"))
    assert failed(tmp_path / "model") == {"stored tensors"}


def test_a_tensor_that_is_not_its_source_is_red(written: Path) -> None:
    name = "model.layers.1.mlp.up_proj.weight"

    def claim_layer_three(promise: dict[str, Any]) -> dict[str, Any]:
        wrong = digest_tensors({name: torch.zeros(64, 32)})
        return promise | {"source_tensors": promise["source_tensors"] | wrong}

    edit_json(written / CERTIFICATE, claim_layer_three)
    assert failed(written) == {"tensors equal to the source"}


def test_layer_kinds_cut_instead_of_sliced_are_red(written: Path) -> None:
    edit_json(written / "config.json", lambda config: config | {"layer_types": LAYER_TYPES[:3]})
    # The probe is longer than the window, so the logits show it even where the configuration is not compared.
    assert failed(written) == {"configuration", "logits"}


def test_layer_kinds_that_only_show_beyond_the_probe_are_red(here: None, tiny: Any, tmp_path: Path) -> None:
    write(
        tiny("qwen2", layer_types=LAYER_TYPES, sliding_window=100, max_position_embeddings=64),
        tmp_path / "model",
    )
    edit_json(tmp_path / "model" / "config.json", lambda config: config | {"layer_types": LAYER_TYPES[:3]})
    assert failed(tmp_path / "model") == {"configuration"}


@pytest.mark.parametrize(
    "settings", [{"num_hidden_layers": 2}, {"num_hidden_layers": 4}, {"layer_types": [FULL] * 6}]
)
def test_a_wrong_depth_is_red(written: Path, settings: dict[str, Any]) -> None:
    edit_json(written / "config.json", lambda config: config | settings)
    assert failed(written) == {"configuration", "loads with transformers"}


@pytest.mark.parametrize("claim", [{"layer_map": [1, 4]}, {"layer_map": [1, 3, 4, 5]}])
def test_a_map_of_another_depth_is_red(written: Path, claim: dict[str, Any]) -> None:
    edit_json(written / CERTIFICATE, lambda promise: promise | claim)
    assert failed(written) == {"depth"}


@pytest.mark.parametrize("name", ["parameters", "bytes"])
def test_another_size_than_promised_is_red(written: Path, name: str) -> None:
    edit_json(written / CERTIFICATE, lambda promise: promise | {name: promise[name] + 1})
    assert failed(written) == {"parameters"}


def test_other_logits_than_promised_are_red(written: Path) -> None:
    def nudge(promise: dict[str, Any]) -> dict[str, Any]:
        largest = max(map(abs, promise["logits"]))
        return promise | {"logits": [promise["logits"][0] + 0.002 * largest, *promise["logits"][1:]]}

    edit_json(written / CERTIFICATE, nudge)
    assert failed(written) == {"logits"}


def test_a_cache_that_changes_the_tokens_is_red(written: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for tokens, nudge in (([1, 3], 0.0), ([1, 2], 0.01)):
        logits = torch.tensor([[2.0, -4.0]])
        found = {True: Continuation([1, 2], logits), False: Continuation(tokens, logits + nudge * 4)}
        monkeypatch.setattr(checks, "greedy", lambda model, cached, found=found: found[cached])
        assert failed(written) == {"cache"}


def test_a_head_that_is_not_tied_as_configured_is_red(written: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    load = checks.load_model

    def untied(name: str, dtype: str) -> Any:
        model: Any = load(name, dtype=dtype)
        model.lm_head.weight = torch.nn.Parameter(model.lm_head.weight.clone())
        return model

    monkeypatch.setattr(checks, "load_model", untied)
    assert failed(written) == {"parameters", "tied weights"}


@pytest.mark.parametrize(
    "name",
    [
        "pytorch_model.bin",
        "training_args.pt",
        "modeling_evil.py",
        "scores.PKL",
        "adapter_config.json",
        "custom_generate/generate.py",
    ],
)
def test_a_file_that_can_run_code_is_red(written: Path, name: str) -> None:
    (written / name).parent.mkdir(exist_ok=True)
    (written / name).write_bytes(b"{}")
    check = inspect_with_logits(written)[0][0]
    assert (check.name, check.passed, check.detail) == ("no pickle and no remote code", False, name)
    refused = {"loads with transformers"} if name == "adapter_config.json" else set()
    assert failed(written) == {check.name} | refused


@pytest.mark.parametrize("name", ["config.json", "tokenizer_config.json"])
def test_remote_code_is_red(written: Path, name: str) -> None:
    edit_json(written / name, lambda settings: settings | {"auto_map": {"AutoConfig": "evil.Config"}})
    # JSON has other ways to write a name.
    for written_so in ("auto_map", "auto\\u005fmap"):
        text = (written / name).read_text().replace("auto_map", written_so)
        (written / name).write_text(text)
        check = inspect_with_logits(written)[0][0]
        assert (check.name, check.passed, check.detail) == ("no pickle and no remote code", False, name)


def test_a_link_out_of_the_folder_is_red(written: Path, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").write_text("a key")
    (written / "NOTES").symlink_to(tmp_path / "elsewhere")
    check = inspect_with_logits(written)[0][0]
    assert (check.name, check.passed, check.detail) == ("no pickle and no remote code", False, "NOTES")


def test_a_removed_tokenizer_is_red(written: Path) -> None:
    for path in written.glob("tokenizer*"):
        path.unlink()
    assert failed(written) == {"tokenizer"}


@pytest.mark.usefixtures("here")
def test_a_tokenizer_that_gives_another_text_back_is_red(
    tiny_llama: PreTrainedModel, tokenizer: PreTrainedTokenizerFast, tmp_path: Path
) -> None:
    write(tiny_llama, tmp_path / "model", tokenizer)
    drop = {"type": "Replace", "pattern": {"String": "layers"}, "content": "l"}
    edit_json(tmp_path / "model" / "tokenizer.json", lambda settings: settings | {"normalizer": drop})
    assert failed(tmp_path / "model") == {"tokenizer"}
    assert inspect_with_logits(tmp_path / "model")[0][-1].detail == "round trip gives 'l of a model'"


@pytest.mark.parametrize("size", [0, 3, 9000])
def test_a_damaged_file_is_red_and_no_traceback(written: Path, size: int) -> None:
    os.truncate(written / "model.safetensors", size)
    assert failed(written) == {"stored tensors"}
    assert "damaged" in inspect_with_logits(written)[0][-1].detail


def test_a_file_that_is_gone_is_red(written: Path) -> None:
    (written / "config.json").unlink()
    assert failed(written) == {"configuration", "loads with transformers"}
    (written / "model.safetensors").unlink()
    assert failed(written) == {"configuration", "stored tensors"}


def test_what_needs_the_weights_in_memory_can_be_left_out(
    written: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(checks, "load_model", None)
    found = inspect_with_logits(written, logits=False)[0]
    assert [check.name for check in found] == [name for name in GREEN if name not in NEED_WEIGHTS]
    assert all(check.passed for check in found)
    assert next(check.detail for check in found if check.name == "loads with transformers").endswith(
        "not loaded"
    )
    edit_json(written / CERTIFICATE, lambda promise: promise | {"parameters": 1})
    edit_json(written / "config.json", lambda config: config | {"tie_word_embeddings": False})
    names = {check.name for check in inspect_with_logits(written, logits=False)[0] if not check.passed}
    assert names == {"configuration", "loads with transformers"}
    edit_json(written / "config.json", lambda config: config | {"tie_word_embeddings": True})
    names = {check.name for check in inspect_with_logits(written, logits=False)[0] if not check.passed}
    assert names == {"parameters"}


@pytest.mark.parametrize("settings", [{"num_hidden_layers": 2}, {"hidden_size": 48}, {"layer_types": [FULL]}])
def test_a_configuration_of_another_model_is_red_without_the_weights(
    written: Path, settings: dict[str, Any]
) -> None:
    edit_json(written / "config.json", lambda config: config | settings)
    names = {check.name for check in inspect_with_logits(written, logits=False)[0] if not check.passed}
    assert names == {"configuration", "loads with transformers"}


@pytest.mark.usefixtures("here")
@pytest.mark.parametrize("family", ["bert", "distilbert", "mpnet"])
def test_an_encoder_can_be_checked_without_its_weights(tiny: Any, tmp_path: Path, family: str) -> None:
    for kind in (None, AutoModel, AutoModelForSequenceClassification):
        folder = tmp_path / str(kind)
        write(tiny(family, auto=kind), folder)
        assert all(check.passed for check in inspect_with_logits(folder, logits=False)[0])


def test_a_fresh_process_can_leave_the_weights_out(written: Path) -> None:
    assert [check.name for check in verify(written, logits=False) if check.passed] == [
        name for name in GREEN if name not in NEED_WEIGHTS
    ]


def test_a_folder_without_a_certificate_is_refused(checkpoint: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"checkpoint has no certificate\.json"):
        verify(checkpoint)
    with pytest.raises(FileNotFoundError, match=r"nowhere has no certificate\.json"):
        verify(checkpoint / "nowhere")


@pytest.mark.usefixtures("here")
def test_writing_fails_loudly_when_a_tensor_is_not_its_source(
    tiny_llama: PreTrainedModel, tmp_path: Path
) -> None:
    wrong = kept_source(tiny_llama.state_dict(), block_path(tiny_llama), [1, 3, 5])
    with pytest.raises(
        ValueError, match=r"does not hold what it promises: tensors equal to the source \(differ: "
    ):
        write_certified(
            prune(tiny_llama, REMOVED), None, tmp_path, source=wrong, layer_map=KEPT, provenance={}
        )


@pytest.mark.usefixtures("here")
def test_trained_tensors_need_no_source(tiny: Any, tmp_path: Path) -> None:
    dense = tiny("llama")
    source = kept_source(dense.state_dict(), block_path(dense), KEPT)
    pruned = prune(dense, REMOVED)
    trained = "model.layers.1.mlp.up_proj.weight"
    with torch.no_grad():
        pruned.get_parameter(trained).add_(1)
    rest = {name: digest for name, digest in source.items() if name != trained}
    write_certified(pruned, None, tmp_path, source=rest, layer_map=KEPT, provenance={})
    assert failed(tmp_path) == set()


def test_sources_stand_under_their_new_names(tiny_gpt2: PreTrainedModel) -> None:
    state = tiny_gpt2.state_dict()
    source = kept_source(state, block_path(tiny_gpt2), KEPT)
    old = digest_tensors({"x": state["transformer.h.4.mlp.c_fc.weight"]})["x"]
    assert source["transformer.h.1.mlp.c_fc.weight"] == old
    assert not any(name.startswith("transformer.h.3.") for name in source)
    assert source["transformer.wte.weight"] == digest_tensors(state)["transformer.wte.weight"]


def test_the_certificate_is_plain_json_with_sorted_keys(written: Path) -> None:
    content = (written / CERTIFICATE).read_text()
    assert list(json.loads(content)) == sorted(json.loads(content))
    assert str(written) not in content
