import copy
from typing import Any

import pytest
import torch
from transformers import PreTrainedModel

from avss_core.models.architectures import blocks
from avss_core.surgery.probe import greedy, in_float32, probe_logits, probe_prompt


@pytest.mark.parametrize(
    ("settings", "length"),
    [
        ({}, 48),
        ({"max_position_embeddings": 40}, 32),
        ({"max_position_embeddings": 9}, 2),
        ({"sliding_window": 60, "max_position_embeddings": 512}, 76),
        ({"sliding_window": 60, "max_position_embeddings": 64}, 56),
        ({"sliding_window": 4096, "max_position_embeddings": 8192}, 48),
    ],
)
def test_the_probe_is_longer_than_a_window_and_fits(tiny: Any, settings: dict[str, int], length: int) -> None:
    model = tiny("mistral", 1, **({"sliding_window": None} | settings))
    prompt = probe_prompt(model)
    assert prompt.shape == (1, length)
    assert int(prompt.max()) < 260
    assert torch.equal(prompt, probe_prompt(model))


def test_probe_logits_are_those_of_the_last_position(tiny_model: PreTrainedModel) -> None:
    with torch.inference_mode():
        expected = tiny_model(probe_prompt(tiny_model)).logits[0, -1].tolist()
    assert probe_logits(tiny_model) == pytest.approx(expected, abs=1e-5)


def test_greedy_is_the_library_s_greedy_generation(tiny_model: PreTrainedModel) -> None:
    any_model: Any = tiny_model
    prompt = probe_prompt(tiny_model)
    expected = any_model.generate(
        prompt, attention_mask=torch.ones_like(prompt), do_sample=False, max_new_tokens=8, min_new_tokens=8,
        suppress_tokens=[],
    )  # fmt: skip
    for cached in (True, False):
        found = greedy(tiny_model, cached=cached)
        assert found.tokens == expected[0, prompt.shape[1] :].tolist() == found.logits.argmax(-1).tolist()


def test_the_logits_of_a_continuation_are_those_of_the_library(tiny_model: PreTrainedModel) -> None:
    prompt, found = probe_prompt(tiny_model), greedy(tiny_model, cached=True)
    whole = torch.cat([prompt, torch.tensor([found.tokens])], 1)
    with torch.inference_mode():
        expected = tiny_model(whole).logits[0, prompt.shape[1] - 1 : -1]
    torch.testing.assert_close(found.logits, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32])
@pytest.mark.parametrize("family", ["llama", "gemma3_text", "phi", "gpt2"])
def test_one_block_at_a_time_is_in_float32_and_gives_the_same_logits(
    tiny: Any, family: str, dtype: torch.dtype
) -> None:
    model = tiny(family, 4).to(dtype)
    own = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    whole, prompt = copy.deepcopy(model).float(), probe_prompt(model)
    places = {tensor.data_ptr() for tensor in model.parameters()}
    wide: list[list[torch.dtype]] = []

    def watch(*_: Any) -> None:
        wide.append([next(block.parameters()).dtype for block in blocks(model)])

    with in_float32(model), torch.no_grad():
        for block in blocks(model):
            block.register_forward_pre_hook(watch)
        found = model(prompt).logits
    assert torch.equal(found, whole(prompt).logits)
    assert wide == [[torch.float32 if i == j else dtype for i in range(4)] for j in range(4)]
    assert {tensor.data_ptr() for tensor in model.parameters()} == places
    assert all(tensor.dtype == own[name].dtype for name, tensor in model.state_dict().items())
    assert all(torch.equal(tensor, own[name]) for name, tensor in model.state_dict().items())


def test_an_error_in_a_block_leaves_the_model_as_it_was(tiny: Any) -> None:
    model = tiny("llama", 3).bfloat16()

    def fail(*_: Any) -> None:
        raise IndexError("no place in the cache")

    blocks(model)[1].mlp.register_forward_hook(fail)
    with pytest.raises(IndexError, match="no place"), in_float32(model):
        greedy(model, cached=True)
    assert {parameter.dtype for parameter in model.parameters()} == {torch.bfloat16}
    assert not any(block._forward_hooks or block._forward_pre_hooks for block in blocks(model))
