from typing import Any

import pytest
import torch
from transformers import AutoConfig, AutoModel, AutoModelForCausalLM, PretrainedConfig, PreTrainedModel

from avss_core.models.activations import observed
from avss_core.models.architectures import (
    ARCHITECTURES,
    architecture,
    architecture_of,
    block_path,
    blocks,
    depth,
    depth_field,
)


@pytest.mark.parametrize("family", sorted(ARCHITECTURES))
def test_every_record_names_parts_that_the_family_has(tiny: Any, family: str) -> None:
    model: PreTrainedModel = tiny(family, 3)
    record = architecture(model.config)
    assert record is ARCHITECTURES[family]
    assert len(blocks(model)) == depth(model.config) == 3
    assert record.depth in model.config.to_dict()
    for block in blocks(model):
        matrices = {
            name.rpartition(".")[2]: module
            for name, module in block.named_modules()
            if getattr(module, "weight", None) is not None and module.weight.ndim == 2
        }
        assert matrices.keys() == set(record.linear), (
            "LoRA reaches each linear map of a block, and nothing else"
        )
        assert {not isinstance(module, torch.nn.Linear) for module in matrices.values()} == {
            record.fan_in_fan_out
        }


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("mistra1", r"model type 'mistra1' is not supported \(nearest: mistral\); known types: bert, "),
        ("t5", r"model type 't5' is not supported; known types: bert, .*, xlm-roberta\. Add a record"),
        ("", r"model type '' is not supported; known types: bert, "),
    ],
)
def test_an_unknown_family_is_named(name: str, message: str) -> None:
    config = PretrainedConfig()
    config.model_type = name
    for look in (architecture, depth):
        with pytest.raises(LookupError, match=message):
            look(config)


@pytest.mark.parametrize(
    ("family", "fields", "text"),
    [
        ("gemma3", "text_config, vision_config", "gemma3_text"),
        ("gemma3n", "text_config", "gemma3n_text"),
        ("llava", "text_config, vision_config", "llama"),
        ("mistral3", "text_config, vision_config", "mistral"),
        ("qwen2_vl", "text_config", "qwen2_vl_text"),
        ("qwen2_5_vl", "text_config", "qwen2_5_vl_text"),
        ("mllama", "text_config, vision_config", "mllama_text_model"),
        ("fuyu", "text_config", "persimmon"),  # which has a depth of its own besides
    ],
)
def test_several_models_in_one_are_refused_with_their_fields(family: str, fields: str, text: str) -> None:
    config = AutoConfig.for_model(family)
    message = (
        f"model type '{family}' is not supported: it is several models in one, each with layers of its own "
        rf"\(fields {fields}.*\); save its language model alone, as {text}, and give that"
    )
    for look in (architecture, depth, depth_field):
        with pytest.raises(LookupError, match=message):
            look(config)


def test_a_part_without_layers_is_no_model() -> None:
    config = AutoConfig.for_model("mpt", n_layers=3)  # attn_config holds settings of the attention
    assert depth(config) == 3


def test_a_list_of_blocks_of_another_length_than_configured_is_refused(tiny: Any) -> None:
    model = tiny("llama", 3)
    del model.model.layers[1]
    with pytest.raises(
        ValueError, match=r"model\.layers of a llama model holds ModuleList, expected a list of 3"
    ):
        blocks(model)


SMALL: dict[str, Any] = {
    "vocab_size": 99,
    "hidden_size": 32,
    "num_attention_heads": 4,
    "num_key_value_heads": 4,
    "intermediate_size": 64,
    "pad_token_id": 0,
}


@pytest.mark.parametrize("family", sorted(ARCHITECTURES))
@torch.inference_mode()
def test_every_site_of_a_family_has_its_width(tiny: Any, family: str) -> None:
    model: PreTrainedModel = tiny(family, 2)
    widths: list[dict[str, int]] = []
    with observed(
        model,
        lambda _, seen: widths.append({site: rows.shape[-1] for site, rows in seen.items()}),
        ["attention", "mlp", "mlp_act"],
    ):
        model(torch.randint(0, 256, (2, 9)))
    inner = 128 if family == "gpt2" else 64
    assert widths == [{"attention": 32, "mlp": 32, "mlp_act": inner, "input": 32, "output": 32}] * 2


@pytest.mark.parametrize(("family", "path"), [("bert", "encoder.layer"), ("llama", "layers"), ("gpt2", "h")])
def test_the_base_model_alone_has_its_blocks_under_a_shorter_path(tiny: Any, family: str, path: str) -> None:
    body, whole = tiny(family, 2, auto=AutoModel), tiny(family, 2)
    assert block_path(body) == path
    assert block_path(whole) == f"{whole.base_model_prefix}.{path}"
    assert len(blocks(body)) == len(blocks(whole)) == 2


def test_an_unknown_family_whose_blocks_can_be_told_works_with_a_warning() -> None:
    config = AutoConfig.for_model("helium", num_hidden_layers=4, **SMALL)  # four heads as well as four layers
    model = AutoModelForCausalLM.from_config(config)
    message = (
        "'helium' is not in .*; assumed that model.layers holds its blocks, num_hidden_layers counts them, "
        "and their parts are .*self_attn"
    )
    with pytest.warns(UserWarning, match=message):
        record = architecture_of(model)
    assert (record.blocks, record.depth, record.mlp) == ("layers", "num_hidden_layers", "mlp")
    assert set(record.linear) == set(architecture(AutoConfig.for_model("llama")).linear)
    with pytest.warns(UserWarning, match="helium"):
        assert len(blocks(model)) == depth(config) == 4


def test_a_site_that_is_not_known_is_refused_and_not_guessed() -> None:
    model = AutoModelForCausalLM.from_config(AutoConfig.for_model("bloom", n_layer=2, n_head=4, **SMALL))
    assert depth_field(model.config) == "n_layer"
    with (
        pytest.warns(UserWarning, match="their parts are {'mlp': 'mlp'}"),
        pytest.raises(LookupError, match="site mlp_act: where it is in a block of this model is not known"),
        observed(model, lambda _index, _seen: None, ["mlp_act"]),
    ):
        pass


@pytest.mark.parametrize(
    ("other", "found"), [(None, "none"), (2, r"model\.layers, model\.others"), (3, "model.layers")]
)
def test_blocks_that_cannot_be_told_are_refused(tiny: Any, other: int | None, found: str) -> None:
    model = tiny("llama", 2)
    model.config.model_type = "strange"
    if other is None:
        del model.model.layers[0]
    else:
        model.model.others = torch.nn.ModuleList(torch.nn.Identity() for _ in range(other))
    if other == 3:
        with pytest.warns(UserWarning, match="'strange' is not in .*; assumed that model.layers holds"):
            assert len(blocks(model)) == 2
    else:
        message = rf"'strange' is not supported \(lists of num_hidden_layers modules: {found}\); known types"
        with pytest.raises(LookupError, match=message):
            blocks(model)
