from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open
from torch import Tensor
from transformers import AutoModelForCausalLM, LlamaConfig, PretrainedConfig, PreTrainedModel

from avss_core.models.architectures import block_path, blocks, depth, depth_field
from avss_core.models.configuration import kept_layers, pruned_config
from avss_core.models.families import DECODERS
from avss_core.models.layers import check_layers
from avss_core.models.loading import load_model
from avss_core.models.sizes import parameter_bytes, parameter_count
from avss_core.models.views import without_layers
from avss_core.surgery.pruning import prune, pruned_state

DEPTH = 8
REMOVED = [0, 2, 3, 7]
KEPT = [1, 4, 5, 6]
FULL, SLIDING = "full_attention", "sliding_attention"
LAYER_TYPES = [FULL, SLIDING, SLIDING, FULL, SLIDING, FULL, FULL, SLIDING]
MIXED = {"gemma2", "gemma3_text", "olmo3", "qwen2", "qwen3", "smollm3"}
KEPT_TYPES = [
    SLIDING,
    SLIDING,
    FULL,
    FULL,
]  # cutting the list instead would give full, sliding, sliding, full
# Longer than the sliding window of 8, so that the kind of each layer shows in the logits.
PROMPT = torch.randint(0, 256, (2, 24), generator=torch.Generator().manual_seed(9))


@pytest.fixture(scope="module", params=sorted(DECODERS))
def dense(request: pytest.FixtureRequest, tiny: Any) -> PreTrainedModel:
    """Eight layers of each family, with kinds of layers in no regular order where the family has kinds."""
    kinds = {"layer_types": LAYER_TYPES} if request.param in MIXED else {}
    model: PreTrainedModel = tiny(request.param, DEPTH, **kinds)
    return model


@pytest.fixture(scope="module")
def pruned(dense: PreTrainedModel) -> PreTrainedModel:
    return prune(dense, REMOVED)


def logits(model: PreTrainedModel, ids: Tensor = PROMPT) -> Tensor:
    with torch.inference_mode():
        return model(ids, use_cache=False).logits


def generated(model: PreTrainedModel, cached: bool) -> list[list[int]]:
    any_model: Any = model
    ids = any_model.generate(
        PROMPT, attention_mask=torch.ones_like(PROMPT), do_sample=False, min_new_tokens=12, max_new_tokens=12,
        use_cache=cached,
    )  # fmt: skip
    return ids[:, PROMPT.shape[1] :].tolist()


def layer_indices(model: PreTrainedModel) -> list[set[int]]:
    return [
        {
            vars(module)[name]
            for module in block.modules()
            for name in ("layer_idx", "layer_id")
            if name in vars(module)
        }
        for block in blocks(model)
    ]


def test_kept_tensors_are_their_sources_to_the_bit(dense: PreTrainedModel, pruned: PreTrainedModel) -> None:
    path = block_path(dense)
    source, found = dense.state_dict(), pruned.state_dict()
    assert len(blocks(pruned)) == len(KEPT)
    for new, old in enumerate(KEPT):
        names = blocks(dense)[old].state_dict().keys()
        assert names
        assert all(
            torch.equal(found[f"{path}.{new}.{name}"], source[f"{path}.{old}.{name}"]) for name in names
        )
    others = {name for name in source if not name.startswith(f"{path}.")}
    assert others == {name for name in found if not name.startswith(f"{path}.")}
    assert all(torch.equal(found[name], source[name]) for name in others)


def test_survivors_are_renumbered(dense: PreTrainedModel, pruned: PreTrainedModel) -> None:
    assert layer_indices(dense) == [{i} for i in range(DEPTH)]
    assert layer_indices(pruned) == [{i} for i in range(len(KEPT))]


def test_the_configuration_follows(dense: PreTrainedModel, pruned: PreTrainedModel) -> None:
    assert depth(pruned.config) == pruned.config.num_hidden_layers == len(KEPT)
    mixed = dense.config.model_type in MIXED
    assert getattr(pruned.config, "layer_types", None) == (KEPT_TYPES if mixed else None)
    before, after = dense.config.to_dict(), pruned.config.to_dict()
    allowed = {depth_field(dense.config), "layer_types", "max_window_layers", "_name_or_path", "dtype"}
    allowed |= {"attention_layers", "attention_types", "no_rope_layers"}
    assert {key for key in before if before[key] != after.get(key)} <= allowed
    assert depth(dense.config) == DEPTH, "the dense model keeps its own configuration"


def test_the_logits_are_those_of_the_skipped_layers(dense: PreTrainedModel, pruned: PreTrainedModel) -> None:
    full, skipped = logits(dense), logits(without_layers(dense, REMOVED))
    assert torch.equal(logits(pruned), skipped)
    assert (skipped - full).abs().max() > 0.1, "these layers must matter, or the test could not fail"


def test_cached_generation_equals_uncached(
    dense: PreTrainedModel, pruned: PreTrainedModel, tmp_path: Path
) -> None:
    expected = generated(pruned, cached=False)
    assert len({token for row in expected for token in row}) > 1
    assert generated(pruned, cached=True) == expected
    pruned.save_pretrained(tmp_path)
    loaded = AutoModelForCausalLM.from_pretrained(tmp_path).eval()
    assert generated(loaded, cached=True) == generated(loaded, cached=False) == expected


def test_a_saved_model_loads_with_plain_transformers(pruned: PreTrainedModel, tmp_path: Path) -> None:
    pruned.save_pretrained(tmp_path)
    loaded, loading = AutoModelForCausalLM.from_pretrained(tmp_path, output_loading_info=True)
    assert not any(loading.values())
    assert type(loaded) is type(pruned)
    assert torch.equal(logits(loaded.eval()), logits(pruned))
    assert layer_indices(loaded) == [{i} for i in range(len(KEPT))]
    assert parameter_count(loaded) == parameter_count(pruned)


@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("family", ["llama", "gpt2"])
def test_the_head_is_tied_after_reload_exactly_when_the_configuration_ties(
    tiny: Any, tmp_path: Path, family: str, tied: bool
) -> None:
    pruned = prune(tiny(family, 4, tie_word_embeddings=tied), [1])
    pruned.save_pretrained(tmp_path)
    loaded: Any = AutoModelForCausalLM.from_pretrained(tmp_path).eval()
    for model in (pruned, loaded):
        assert (model.get_output_embeddings().weight is model.get_input_embeddings().weight) == tied
    with safe_open(tmp_path / "model.safetensors", framework="pt") as handle:
        names = set(handle.keys())
    assert ("lm_head.weight" in names) == (not tied)
    assert torch.equal(logits(loaded), logits(pruned))


def test_parameters_and_bytes_fall_by_those_of_the_removed_layers(
    dense: PreTrainedModel, pruned: PreTrainedModel
) -> None:
    gone = [parameter for index in REMOVED for parameter in blocks(dense)[index].parameters()]
    assert parameter_count(dense) - parameter_count(pruned) == sum(parameter.numel() for parameter in gone)
    assert parameter_bytes(dense) - parameter_bytes(pruned) == sum(parameter.nbytes for parameter in gone)


def test_kept_tensors_are_shared_and_not_copied(dense: PreTrainedModel, pruned: PreTrainedModel) -> None:
    old = {parameter.data_ptr() for parameter in dense.parameters()}
    # Tying pads the head's bias to its length anew.
    new = {tensor.data_ptr() for name, tensor in pruned.named_parameters() if name != "lm_head.bias"}
    assert new <= old


def test_pruning_keeps_dtype_mode_generation_settings_and_source_name_out(
    tiny: Any, checkpoint: Path, tmp_path: Path
) -> None:
    dense: Any = load_model(str(checkpoint), dtype="bfloat16")
    dense.generation_config.max_new_tokens = 77
    dense.generation_config.repetition_penalty = 1.25
    pruned: Any = prune(dense, [5, 1])
    assert pruned.dtype == torch.bfloat16
    assert not pruned.training
    assert pruned.generation_config is not dense.generation_config
    pruned.save_pretrained(tmp_path / "pruned")
    loaded: Any = AutoModelForCausalLM.from_pretrained(tmp_path / "pruned")
    assert loaded.dtype == torch.bfloat16
    assert (loaded.generation_config.max_new_tokens, loaded.generation_config.repetition_penalty) == (
        77,
        1.25,
    )
    assert loaded.generation_config.eos_token_id == 256
    settings = (tmp_path / "pruned" / "config.json").read_text()
    assert "checkpoint" not in settings
    assert "auto_map" not in settings


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("decoder_sparse_step", 2),
        ("first_k_dense_replace", 1),
        ("full_attention_interval", 4),
        ("num_kv_shared_layers", 2),
        ("attn_layer_period", 8),
        ("expert_layer_period", 2),
        ("scale_attn_by_inverse_layer_idx", True),
    ],
)
def test_a_rule_by_index_is_refused_with_its_field(field: str, value: Any) -> None:
    config = LlamaConfig(num_hidden_layers=4, **{field: value})
    with pytest.raises(ValueError, match=f"llama: the field {field} ties the kind of a layer to its index"):
        pruned_config(config, [1])


def test_a_rule_that_is_switched_off_is_no_obstacle() -> None:
    config = LlamaConfig(num_hidden_layers=4, first_k_dense_replace=0, full_attention_interval=None)
    assert depth(pruned_config(config, [1])) == 3


def test_gpt2_that_scales_attention_by_the_layer_number_is_refused_before_any_work(tiny: Any) -> None:
    model = tiny("gpt2", 3, scale_attn_by_inverse_layer_idx=True)
    with pytest.raises(ValueError, match="gpt2: the field scale_attn_by_inverse_layer_idx"):
        prune(model, [0])


def test_every_list_of_one_entry_a_layer_is_sliced_by_kept_index() -> None:
    config = LlamaConfig(
        num_hidden_layers=4,
        layer_types=[FULL] * 4,
        mlp_sizes=[1, 2, 3, 4],
        other=[1, 2],
        eos_token_id=[5, 6, 7, 8],
    )
    with pytest.warns(UserWarning, match="llama: the field mlp_sizes is not known; it has one entry a layer"):
        found = pruned_config(config, [0, 2]).to_dict()
    assert (found["mlp_sizes"], found["layer_types"], found["other"]) == ([2, 4], [FULL] * 2, [1, 2])
    assert found["eos_token_id"] == [5, 6, 7, 8], "these are four ends of text, not one a layer"
    assert config.mlp_sizes == [1, 2, 3, 4]


def test_state_names_are_renumbered_inside_the_list_of_blocks_alone() -> None:
    tensors = [torch.zeros(1) for _ in range(5)]
    names = ["m.layers.0.w", "m.layers.1.w", "m.layers.11.mlp.layers.1.w", "m.layers.norm", "xm.layers.1.w"]
    found = pruned_state(dict(zip(names, tensors, strict=True)), "m.layers", [1, 11])
    assert {
        name: next(i for i, t in enumerate(tensors) if t is tensor) for name, tensor in found.items()
    } == {
        "m.layers.0.w": 1,
        "m.layers.1.mlp.layers.1.w": 2,
        "m.layers.norm": 3,
        "xm.layers.1.w": 4,
    }


def test_a_tensor_without_a_source_is_an_error_and_not_a_random_weight(
    tiny_llama: PreTrainedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    state = tiny_llama.state_dict()
    del state["model.layers.4.mlp.up_proj.weight"]
    monkeypatch.setattr(tiny_llama, "state_dict", lambda: state)
    with pytest.raises(
        ValueError, match=r"left tensors .*missing_keys.*model\.layers\.3\.mlp\.up_proj\.weight"
    ):
        prune(tiny_llama, [1])


@pytest.mark.parametrize(
    ("removed", "message"),
    [
        ([], "no layer to remove was named"),
        ([6], "layer 6 does not exist: the model has layers 0 to 5"),
        ([-1], "layer -1 does not exist"),
        ([3, 1, 3], r"a layer is named twice in \[1, 3, 3\]"),
        ([0, 1, 2, 3, 4, 5], "cannot remove all 6 layers"),
    ],
)
def test_layer_numbers_that_do_not_fit_are_refused_before_any_work(
    tiny_llama: PreTrainedModel, removed: list[int], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        check_layers(removed, 6)
    with pytest.raises(ValueError, match=message):
        prune(tiny_llama, removed)
    with pytest.raises(ValueError, match=message):
        without_layers(tiny_llama, removed)


def test_layers_count_from_zero() -> None:
    assert check_layers([5, 0, 2], 6) == [0, 2, 5]
    assert kept_layers(6, [0, 2, 5]) == [1, 3, 4]
    assert kept_layers(3, []) == [0, 1, 2]


def test_tied_parameters_count_once(tiny_llama: PreTrainedModel) -> None:
    stored = [tensor for name, tensor in tiny_llama.state_dict().items() if name != "lm_head.weight"]
    assert parameter_count(tiny_llama) == sum(tensor.numel() for tensor in stored)
    assert parameter_bytes(tiny_llama) == 4 * parameter_count(tiny_llama)


def test_an_unknown_family_is_named() -> None:
    config = PretrainedConfig()
    config.model_type = "mistra1"
    with pytest.raises(LookupError, match=r"model type 'mistra1' is not supported \(nearest: mistral\)"):
        pruned_config(config, [0])
