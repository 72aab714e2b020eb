from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn
from transformers import PreTrainedModel

from avss_core.evaluation.generation import answer_questions
from avss_core.evaluation.prompts import few_shot_prompt
from avss_core.evaluation.readout import answers_by_layer
from avss_core.models.architectures import architecture_of, blocks

SHOTS = [("Is it on?", "yes"), ("How many?", "7")]
PROMPTS = [few_shot_prompt(SHOTS, question) for question in ("Who?", "Where is the old house?", "So?")]
OPTIONS: dict[str, Any] = {"max_new_tokens": 5, "batch_size": 2}
LAYERS = 4


@pytest.fixture(scope="module", params=["gemma2", "gpt2", "gpt_neo", "llama", "qwen3"])
def model(request: pytest.FixtureRequest, tiny: Callable[..., PreTrainedModel]) -> PreTrainedModel:
    return tiny(request.param, LAYERS)


@torch.inference_mode()
def naive_tokens(model: PreTrainedModel, tokenizer: Any, prompt: str, layer: int) -> str:
    """Return the answer read out behind a block: hidden state, final norm and head for each token."""
    network: Any = model
    body = network.get_decoder()
    norm = getattr(body, "norm", None) or body.ln_f
    ids = list(tokenizer(prompt).input_ids)
    start = len(ids)
    seen: list[Any] = []
    handle = blocks(model)[layer].register_forward_hook(lambda _block, _args, result: seen.append(result))
    for _ in range(OPTIONS["max_new_tokens"]):
        network(torch.tensor([ids]), use_cache=False)
        state = seen[-1][0] if isinstance(seen[-1], tuple) else seen[-1]
        logits = network.get_output_embeddings()(norm(state))
        token = int(logits[0, -1].argmax())
        if token == tokenizer.eos_token_id or tokenizer.decode([token]) == "\n":
            break
        ids.append(token)
    handle.remove()
    return tokenizer.decode(ids[start:]).split("\n")[0].strip()


def test_each_layer_is_read_through_the_norm_and_the_head(model: PreTrainedModel, tokenizer: Any) -> None:
    found = answers_by_layer(model, tokenizer, PROMPTS, **OPTIONS)
    assert list(found) == list(range(LAYERS))
    for layer, answers in found.items():
        expected = [naive_tokens(model, tokenizer, prompt, layer) for prompt in PROMPTS]
        assert [answer.text for answer in answers] == expected, layer
    assert len({tuple(answer.text for answer in answers) for answers in found.values()}) > 1


def test_the_last_layer_answers_as_the_model_does(model: PreTrainedModel, tokenizer: Any) -> None:
    found = answers_by_layer(model, tokenizer, PROMPTS, layers=[LAYERS - 1], **OPTIONS)
    expected = answer_questions(model, tokenizer, PROMPTS, **OPTIONS)
    assert [answer.text for answer in found[LAYERS - 1]] == [answer.text for answer in expected]
    confidences = [answer.confidence for answer in expected]
    assert [answer.confidence for answer in found[LAYERS - 1]] == pytest.approx(confidences, rel=1e-5)


def test_the_prompts_are_read_once_for_all_layers(tiny_llama: PreTrainedModel, tokenizer: Any) -> None:
    read: list[int] = []
    for block in blocks(tiny_llama)[:2]:
        block.register_forward_hook(lambda _block, args, _result: read.append(args[0].shape[1]))
    answers_by_layer(tiny_llama, tokenizer, ["Q: abc", "Q: xyz"], layers=[0, 1], max_new_tokens=1)
    for block in blocks(tiny_llama)[:2]:
        block._forward_hooks.clear()
    # The shared start and all but the last token by both blocks, then the last one by the first, by both.
    assert read == [3, 3, 2, 2, 1, 1, 1]


@pytest.mark.parametrize("prompts", [["a", "b"], ["ab", "c"]])
def test_short_prompts_with_nothing_in_common_are_read_out(
    prompts: list[str], model: PreTrainedModel, tokenizer: Any
) -> None:
    found = answers_by_layer(model, tokenizer, prompts, **OPTIONS)
    for layer, answers in found.items():
        expected = [naive_tokens(model, tokenizer, prompt, layer) for prompt in prompts]
        assert [answer.text for answer in answers] == expected, layer


def test_no_prompt_gives_no_answer(tiny_llama: PreTrainedModel, tokenizer: Any) -> None:
    assert answers_by_layer(tiny_llama, tokenizer, [], layers=[1]) == {1: []}


@pytest.mark.parametrize("family", ["gemma2", "gpt2", "llama"])
def test_a_layer_that_does_nothing_answers_as_the_one_before(
    family: str, tiny: Callable[..., PreTrainedModel], tokenizer: Any
) -> None:
    model = tiny(family, LAYERS)
    idle = 2
    with torch.no_grad():
        for name, parameter in blocks(model)[idle].named_parameters():
            if any(part in name for part in ("o_proj", "c_proj", "down_proj", "post_")):
                parameter.fill_(-1.0 if "post_" in name else 0.0)  # a norm of gemma2 multiplies by 1 + weight
    found = answers_by_layer(model, tokenizer, PROMPTS, **OPTIONS)
    assert found[idle] == found[idle - 1]
    assert found[idle] != found[0]


def test_the_model_is_left_as_it_was(model: PreTrainedModel, tokenizer: Any) -> None:
    def state() -> list[Any]:
        return [
            (name, id(module), len(module._forward_hooks), list(map(id, module._parameters.values())))
            for name, module in model.named_modules()
        ]

    before, settings = state(), model.config.to_dict()
    answers_by_layer(model, tokenizer, PROMPTS[:1], layers=[0, 2], **OPTIONS)
    assert state() == before
    assert model.config.to_dict() == settings
    assert isinstance(blocks(model), nn.ModuleList)


def test_progress_counts_the_prompts_of_each_layer(tiny_llama: PreTrainedModel, tokenizer: Any) -> None:
    done: list[int] = []
    answers_by_layer(tiny_llama, tokenizer, PROMPTS, layers=[1, 3], progress=done.append, **OPTIONS)
    assert done == [2, 2, 1, 1]


@pytest.mark.parametrize("family", ["bert", "distilbert", "mpnet"])
def test_an_encoder_is_refused(family: str, tiny: Callable[..., PreTrainedModel], tokenizer: Any) -> None:
    assert not architecture_of(tiny(family, 2)).causal
    with pytest.raises(ValueError, match=f"{family} is an encoder: it writes no answer"):
        answers_by_layer(tiny(family, 2), tokenizer, PROMPTS)


@pytest.mark.parametrize(
    ("layers", "message"), [([6], "layer 6 does not exist"), ([1, 1], "named twice"), ([-1], "layer -1")]
)
def test_layers_that_do_not_fit_are_refused(
    layers: list[int], message: str, tiny_llama: PreTrainedModel, tokenizer: Any
) -> None:
    with pytest.raises(ValueError, match=message):
        answers_by_layer(tiny_llama, tokenizer, PROMPTS, layers=layers)
