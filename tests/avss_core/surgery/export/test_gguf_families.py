import math
from typing import Any

import pytest
import torch
from transformers import AutoConfig
from transformers.modeling_rope_utils import ROPE_INIT_FUNCTIONS

from avss_core.surgery.export.gguf_families import (
    GGUF_FAMILIES,
    gguf_family,
    read_config,
    rope_factors,
)

LLAMA3 = {
    "rope_type": "llama3", "rope_theta": 5e5, "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
    "original_max_position_embeddings": 64,
}  # fmt: skip
SIZES = {"hidden_size": 64, "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 16}


def config_of(family: str, **settings: Any) -> Any:
    return AutoConfig.for_model(family, **SIZES, num_hidden_layers=6, **settings)


@pytest.mark.parametrize(
    ("family", "settings"),
    [
        ("llama", {"rope_theta": 1e5, "rms_norm_eps": 1e-5}),
        ("mistral", {"sliding_window": None}),
        ("qwen2", {"use_sliding_window": False}),
        ("gemma2", {"query_pre_attn_scalar": 256}),
        ("gemma3_text", {"query_pre_attn_scalar": 256, "sliding_window": 32}),
    ],
)
def test_transformers_reads_the_configuration_of_ordinary_models(
    family: str, settings: dict[str, Any]
) -> None:
    config = config_of(family, **settings)
    read, by_hand = read_config(config)
    assert by_hand == set()
    assert read.rope_parameters == config.rope_parameters
    assert (read.num_hidden_layers, read.vocab_size) == (6, config.vocab_size)


def test_what_the_file_says_and_transformers_does_not_read_is_set_by_hand() -> None:
    read, by_hand = read_config(config_of("qwen3", use_sliding_window=False))
    assert (by_hand, read.head_dim) == ({"head_dim"}, 16)
    capped = config_of("gemma2", final_logit_softcapping=5.0, query_pre_attn_scalar=16)
    assert read_config(capped)[1] == {"final_logit_softcapping", "query_pre_attn_scalar"}
    assert read_config(config_of("llama", rope_parameters=LLAMA3))[1] == {"rope_parameters"}


@pytest.mark.parametrize(
    ("family", "settings", "message"),
    [
        ("llama", {"attention_bias": True}, "attention_bias in config.json is True, the file has no place"),
        ("llama", {"mlp_bias": True}, "mlp_bias"),
        ("llama", {"hidden_act": "gelu"}, "hidden_act in config.json is 'gelu'.* take 'silu'"),
        ("llama", {"partial_rotary_factor": 0.5}, "partial_rotary_factor in config.json is 0.5"),
        ("mistral", {"sliding_window": 4096}, "last 4096 tokens only .*max_position_embeddings to 4096"),
        (
            "qwen2",
            {"rope_parameters": {**LLAMA3, "rope_type": "yarn"}},
            "rope_type .* 'yarn'.*default, linear",
        ),
        ("qwen2", {"rope_parameters": LLAMA3}, "rope_type .* 'llama3'"),
        (
            "qwen2",
            {"use_sliding_window": True, "max_window_layers": 3, "sliding_window": 8},
            "block 3 has sliding",
        ),
        ("gemma3_text", {"query_pre_attn_scalar": 168}, "query_pre_attn_scalar in config.json is 168"),
        (
            "gemma3_text",
            {"layer_types": ["sliding_attention"] * 4 + ["full_attention", "sliding_attention"]},
            "blocks are not alike .*block 4 has full_attention, and readers of GGUF take sliding_attention",
        ),
    ],
)
def test_a_model_that_the_file_cannot_say_is_refused_by_name(
    family: str, settings: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValueError, match=f"cannot be written as GGUF: .*{message}"):
        read_config(config_of(family, **settings))


def test_removing_layers_of_gemma_is_no_obstacle_where_the_kinds_still_follow_from_the_numbers() -> None:
    kinds = [*["sliding_attention"] * 5, "full_attention", "sliding_attention"]
    config = AutoConfig.for_model(
        "gemma3_text", **SIZES, num_hidden_layers=7, layer_types=kinds, query_pre_attn_scalar=16
    )
    assert read_config(config)[0].layer_types == kinds


def test_an_unknown_family_is_refused_with_those_that_are_known() -> None:
    with pytest.raises(LookupError, match=r"opt models are not written as GGUF.*gemma2, gemma3_text, gpt2"):
        gguf_family(AutoConfig.for_model("opt"))


@pytest.mark.parametrize("family", sorted(GGUF_FAMILIES))
def test_each_family_is_one_that_both_libraries_know(family: str) -> None:
    import gguf
    from transformers.integrations.ggml import GGUF_CONFIG_MAPPING

    architecture = GGUF_FAMILIES[family].architecture
    assert architecture in gguf.MODEL_ARCH_NAMES.values()
    assert architecture in GGUF_CONFIG_MAPPING


def test_the_factors_of_llama_3_divide_the_plain_frequencies() -> None:
    config = config_of("llama", rope_parameters=LLAMA3)
    factors = rope_factors(config)
    assert factors is not None
    plain = torch.tensor([5e5 ** (-i / 8) for i in range(8)])
    scaled, _ = ROPE_INIT_FUNCTIONS["llama3"](config, torch.device("cpu"))
    assert torch.allclose(plain / factors, scaled, rtol=1e-6)
    # Waves of 2 pi tokens turn often in 64 and stay; the longest are stretched eightfold.
    assert factors[0] == 1
    assert math.isclose(factors[-1], 8, rel_tol=1e-5)
    assert rope_factors(config_of("llama")) is None
