from dataclasses import replace
from typing import Any

import pytest
import torch
from transformers import AutoConfig, AutoModelForCausalLM, LlamaConfig, PreTrainedModel, SmolLM3Config

from avss_core.models.architectures import ARCHITECTURES
from avss_core.models.configuration import pruned_config
from avss_core.models.views import without_layers
from avss_core.surgery.pruning import prune

PROMPT = torch.randint(0, 256, (2, 24), generator=torch.Generator().manual_seed(9))
SIZES: dict[str, Any] = {
    "vocab_size": 260,
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "num_hidden_layers": 8,
    "head_dim": 8,
    "moe_intermediate_size": 16,
    "num_experts_per_tok": 2,
    "initializer_range": 0.2,
    "pad_token_id": 0,
}
DEEPSEEK = {
    "n_routed_experts": 8,
    "n_group": 2,
    "topk_group": 1,
    "kv_lora_rank": 8,
    "q_lora_rank": 8,
    "qk_rope_head_dim": 4,
    "qk_nope_head_dim": 4,
    "v_head_dim": 8,
    "head_dim": 4,
    "num_key_value_heads": 4,
}


LINEAR = {
    "linear_key_head_dim": 8,
    "linear_value_head_dim": 8,
    "linear_num_key_heads": 2,
    "linear_num_value_heads": 2,
    "shared_expert_intermediate_size": 16,
}


def random_model(family: str, **settings: Any) -> PreTrainedModel:
    with torch.random.fork_rng(), torch.no_grad():
        torch.manual_seed(0)
        model = AutoModelForCausalLM.from_config(AutoConfig.for_model(family, **SIZES | settings))
    return model.eval()


def logits(model: PreTrainedModel) -> torch.Tensor:
    with torch.inference_mode():
        return model(PROMPT, use_cache=False).logits


@pytest.mark.filterwarnings("ignore:model type .* is not in:UserWarning")
@pytest.mark.parametrize(
    ("family", "settings", "expected"),
    [
        # Dense: 0 to 2. Kept are 0, 2, 3, 5 and 7, of which two are dense.
        ("deepseek_v3", {**DEEPSEEK, "first_k_dense_replace": 3}, {"first_k_dense_replace": 2}),
        # Sparse: 1, 3, 5, 7, but 3. Kept are 0, 2 and 3 dense, 5 and 7 sparse.
        (
            "qwen3_moe",
            {"num_experts": 4, "decoder_sparse_step": 2, "mlp_only_layers": [3]},
            {"decoder_sparse_step": 1, "mlp_only_layers": [0, 1, 2]},
        ),
        ("qwen3_moe", {"num_experts": 4, "mlp_only_layers": [1, 4, 5]}, {"mlp_only_layers": [3]}),
        # Windows from layer 3 on: kept are 0 and 2 without one, 3, 5 and 7 with one.
        (
            "qwen2",
            {"use_sliding_window": True, "sliding_window": 8, "max_window_layers": 3},
            {
                "max_window_layers": 5,
                "layer_types": ["full_attention"] * 2 + ["sliding_attention"] * 3,
            },
        ),
        # Full attention in 3 and 7; the rule itself would give it to the new layer 3 alone.
        (
            "qwen3_next",
            {"num_experts": 4, "full_attention_interval": 4, **LINEAR},
            {"layer_types": [f"{kind}_attention" for kind in ("linear", "linear", "full", "linear", "full")]},
        ),
        # Windows in 0, 1, 2, 4, 5 and 6, as three of four; the rule itself would give others of five layers.
        (
            "cohere2",
            {"sliding_window": 8, "sliding_window_pattern": 4},
            {
                "layer_types": [
                    f"{kind}_attention" for kind in ("sliding", "sliding", "full", "sliding", "full")
                ]
            },
        ),
    ],
)
def test_a_rule_that_can_say_the_same_of_the_kept_layers_is_rewritten(
    family: str, settings: dict[str, Any], expected: dict[str, Any]
) -> None:
    dense = random_model(family, **settings)
    pruned = prune(dense, [1, 4, 6])
    assert {name: getattr(pruned.config, name) for name in expected} == expected
    assert torch.equal(logits(pruned), logits(without_layers(dense, [1, 4, 6])))


@pytest.mark.parametrize(
    ("family", "settings", "field"),
    [
        ("gemma3n_text", {"hidden_size_per_layer_input": 8}, "hidden_size_per_layer_input"),
        (
            "gemma3n_text",
            {"num_kv_shared_layers": 2, "hidden_size_per_layer_input": 0},
            "num_kv_shared_layers",
        ),
        ("jamba", {}, "attn_layer_period"),
        ("gpt2", {"scale_attn_by_inverse_layer_idx": True}, "scale_attn_by_inverse_layer_idx"),
        ("llama", {"sliding_window_pattern": 4}, "sliding_window_pattern"),
        ("llama", {"moe_layer_freq": 2}, "moe_layer_freq"),
        ("llama", {"max_window_layers": 3}, "max_window_layers"),
        ("llama", {"full_attention_interval": 4}, "full_attention_interval"),
        ("llama", {"first_k_dense_replace": 1}, "first_k_dense_replace"),
        ("llama", {"decoder_sparse_step": 2}, "decoder_sparse_step"),
    ],
)
def test_a_rule_that_cannot_follow_is_refused_with_its_field(
    family: str, settings: dict[str, Any], field: str
) -> None:
    config = AutoConfig.for_model(family, num_hidden_layers=8, **settings)
    with pytest.raises(
        ValueError, match=f"{family}: the field {field} ties the kind of a layer to its index"
    ):
        pruned_config(config, [1])


def test_a_list_longer_than_the_model_is_deep_is_sliced_from_its_start() -> None:
    config = SmolLM3Config(num_hidden_layers=4, no_rope_layers=[1, 0, 1, 1, 0, 0], pad_token_id=0)
    found = pruned_config(config, [0, 2])
    assert (found.no_rope_layers, found.layer_types) == ([0, 1], ["full_attention"] * 2)


def test_a_list_shorter_than_the_model_is_deep_is_refused() -> None:
    config = LlamaConfig(num_hidden_layers=4, mlp_layer_types=["dense"] * 3)
    with pytest.raises(ValueError, match="llama: the field mlp_layer_types has 3 entries for 4 layers"):
        pruned_config(config, [0])


def test_layer_numbers_as_many_as_layers_are_no_list_of_one_entry_a_layer() -> None:
    config = LlamaConfig(num_hidden_layers=4, moe_layers=[0, 1, 2, 3])
    assert pruned_config(config, [0, 2]).moe_layers == [0, 1]


def test_a_depth_that_an_older_version_of_the_family_left_follows() -> None:
    config = LlamaConfig(num_hidden_layers=4, n_layer=4)
    found = pruned_config(config, [0])
    assert (found.num_hidden_layers, found.n_layer) == (3, 3)


@pytest.mark.parametrize("family", ["gemma2", "gemma3_text", "gpt_neo", "olmo3", "qwen2", "qwen3", "smollm3"])
@pytest.mark.parametrize("kind", ["full", "sliding"])
def test_layers_of_one_kind_alone_can_stay(tiny: Any, tmp_path: Any, family: str, kind: str) -> None:
    full, sliding = [0, 3, 5], [1, 2, 4]
    kinds = ["sliding_attention" if layer in sliding else "full_attention" for layer in range(6)]
    dense = tiny(family, 6, **({"layer_types": kinds} if "qwen" in family else {}))
    removed = sliding if kind == "full" else full
    pruned = prune(dense, removed)
    pruned.save_pretrained(tmp_path)
    loaded = AutoModelForCausalLM.from_pretrained(tmp_path).eval()
    assert torch.equal(logits(loaded), logits(pruned))
    assert torch.equal(logits(without_layers(dense, removed)), logits(pruned))
    ids: Any = [
        loaded.generate(PROMPT, do_sample=False, max_new_tokens=8, min_new_tokens=8, use_cache=cached,
                        attention_mask=torch.ones_like(PROMPT))
        for cached in (True, False)
    ]  # fmt: skip
    assert torch.equal(*ids)


def test_the_field_that_a_record_names_counts_the_layers(monkeypatch: pytest.MonkeyPatch) -> None:
    record = replace(ARCHITECTURES["llama"], depth="steps")
    monkeypatch.setitem(ARCHITECTURES, "llama", record)
    assert pruned_config(LlamaConfig(steps=4), [1]).steps == 3
