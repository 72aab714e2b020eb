from typing import Any

import pytest
import transformers
from tokenizers import Tokenizer, pre_tokenizers, processors
from tokenizers.models import BPE
from transformers import AutoConfig, LlamaTokenizer, PreTrainedTokenizerFast

from avss_core.models.architectures import ARCHITECTURES
from avss_core.models.older_keys import OLDEST, older_config, older_tokenizer, oldest_version

YARN = {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 32}
LONG = {"short_factor": [1.0, 1.5], "long_factor": [1.0, 2.0]}


def config(family: str, **settings: Any) -> Any:
    sizes = {"hidden_size": 16, "num_attention_heads": 4, "max_position_embeddings": 128}
    return AutoConfig.for_model(family, **sizes, **settings)


def rope(theta: float = 321.0, rope_type: str = "default", **settings: Any) -> dict[str, Any]:
    return {"rope_theta": theta, "rope_type": rope_type, **settings}


@pytest.mark.parametrize(
    ("family", "parameters", "keys"),
    [
        ("llama", rope(), {"rope_theta": 321.0}),
        ("gpt_neox", rope(partial_rotary_factor=0.5), {"rotary_emb_base": 321.0, "rotary_pct": 0.5}),
        ("phi", rope(partial_rotary_factor=0.5), {"rope_theta": 321.0, "partial_rotary_factor": 0.5}),
        ("qwen2", rope(**YARN), {"rope_theta": 321.0, "rope_scaling": YARN}),
        (
            "olmo2",
            rope(rope_type="linear", factor=2.0),
            {"rope_theta": 321.0, "rope_scaling": {"type": "linear", "factor": 2.0}},
        ),
        (
            "gemma3_text",
            {"full_attention": rope(**YARN), "sliding_attention": rope(77.0)},
            {"rope_theta": 321.0, "rope_local_base_freq": 77.0, "rope_scaling": YARN},
        ),
        ("olmo3", {"full_attention": rope(), "sliding_attention": rope()}, {"rope_theta": 321.0}),
    ],
)
def test_a_rotary_embedding_is_said_in_the_older_keys_as_well(
    family: str, parameters: dict[str, Any], keys: dict[str, Any]
) -> None:
    made = config(family, rope_parameters=parameters)
    assert older_config(made) == keys
    assert oldest_version(made) == OLDEST


def test_phi_3_keeps_the_length_before_scaling_beside_its_three_fields() -> None:
    made = config(
        "phi3", rope_parameters=rope(rope_type="longrope", **LONG), original_max_position_embeddings=32
    )
    keys = older_config(made)
    assert keys["rope_scaling"] == {"type": "longrope", **LONG}
    assert made.to_dict()["original_max_position_embeddings"] == 32
    assert oldest_version(made) == OLDEST


@pytest.mark.parametrize(
    ("family", "parameters"),
    [
        ("olmo3", {"full_attention": rope(), "sliding_attention": rope(77.0)}),
        (
            "gemma3_text",
            {"full_attention": rope(), "sliding_attention": rope(rope_type="linear", factor=2.0)},
        ),
        ("olmo2", rope(**YARN)),
        ("mistral", rope(partial_rotary_factor=0.5)),
        ("llama", rope(rope_type="longrope", **LONG, factor=4.0)),
    ],
)
def test_what_older_keys_cannot_say_needs_the_version_that_writes(
    family: str, parameters: dict[str, Any]
) -> None:
    made = config(family, rope_parameters=parameters)
    assert older_config(made) == {}
    assert oldest_version(made) == transformers.__version__


def test_a_family_that_was_not_compared_promises_no_older_version() -> None:
    assert "cohere" not in ARCHITECTURES
    assert oldest_version(config("cohere")) == transformers.__version__
    assert older_config(config("cohere"))["rope_theta"] == config("cohere").rope_parameters["rope_theta"]


@pytest.mark.parametrize("family", sorted(ARCHITECTURES))
def test_older_keys_change_nothing_for_this_version(tiny: Any, family: str) -> None:
    made = tiny(family, 2).config
    own = type(made).from_dict({**made.to_dict(), "dtype": "float32"})
    keys = older_config(own)
    assert keys["torch_dtype"] == "float32"
    again = type(own).from_dict({**own.to_dict(), **keys})
    assert getattr(again, "rope_parameters", None) == getattr(own, "rope_parameters", None)
    assert again.dtype == own.dtype
    assert older_config(again) == keys


def fast(*, space: bool = False, **settings: Any) -> PreTrainedTokenizerFast:
    letters = [*sorted(pre_tokenizers.ByteLevel.alphabet()), "<s>", "</s>"]
    raw = Tokenizer(BPE(vocab={letter: index for index, letter in enumerate(letters)}, merges=[]))
    raw.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=space)
    return PreTrainedTokenizerFast(tokenizer_object=raw, bos_token="<s>", eos_token="</s>", **settings)


def llama(**settings: Any) -> LlamaTokenizer:
    vocab = {token: index for index, token in enumerate(["<unk>", "<s>", "</s>", "▁", "a"])}
    return LlamaTokenizer(vocab=vocab, merges=[], **settings)


def test_a_class_that_only_this_version_has_becomes_the_one_that_both_read_alike() -> None:
    settings = older_tokenizer(fast(extra_special_tokens=["<|x|>"]))
    assert settings["tokenizer_class"] == "PreTrainedTokenizerFast"
    assert settings["model_input_names"] == ["input_ids", "attention_mask"]
    assert (settings["additional_special_tokens"], settings["extra_special_tokens"]) == (["<|x|>"], None)


@pytest.mark.parametrize("space", [True, False])
def test_the_space_before_a_text_is_said(space: bool) -> None:
    assert older_tokenizer(fast(space=space))["add_prefix_space"] is space


@pytest.mark.parametrize(("begins", "ends"), [(False, False), (False, True), (True, True)])
def test_a_class_that_adds_tokens_by_settings_stays_and_says_which(begins: bool, ends: bool) -> None:
    settings = older_tokenizer(llama(add_bos_token=begins, add_eos_token=ends))
    assert settings["tokenizer_class"] == "LlamaTokenizer"
    assert (settings["add_bos_token"], settings["add_eos_token"]) == (begins, ends)


def test_what_transformers_4_assumes_is_not_said() -> None:
    settings = older_tokenizer(llama(add_bos_token=True))
    assert settings["tokenizer_class"] == "LlamaTokenizer"
    assert "add_bos_token" not in settings


def test_tokens_that_no_setting_can_add_take_the_class_away() -> None:
    twice: Any = llama()
    twice._tokenizer.post_processor = processors.TemplateProcessing("<s> <s> $A", None, [("<s>", 1)])
    assert older_tokenizer(twice)["tokenizer_class"] == "PreTrainedTokenizerFast"
