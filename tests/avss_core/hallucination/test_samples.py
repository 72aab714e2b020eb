import dataclasses
import math

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file

from avss_core.hallucination.localization import variance_over_sparsity
from avss_core.hallucination.samples import (
    AnswerSample,
    SampleActivations,
    answer_tokens,
    load_samples,
    observe_answers,
    save_samples,
)
from avss_core.models.architectures import blocks
from avss_core.statistics.moments import Moments

RELATIVE = 0.4
SAMPLES = [
    AnswerSample(f"id{number}", "nq", "train", question, answer, number % 2 == 1)
    for number, (question, answer) in enumerate(
        [
            ("Who?", "Ada"),
            ("Where is the old red house?", "x"),
            ("Why?", "because it rained on that long day"),
            ("What?", "7"),
            ("Who?", "Ada L."),
        ]
    )
]
TENSORS = ("hallucinated", "pooled", "count", "mean", "centred", "below")


@torch.inference_mode()
def naive_rows(model, tokenizer, sample: AnswerSample, site: str) -> tuple[torch.Tensor, torch.Tensor]:
    """Return [layers, tokens, hidden] activations at a site and block inputs, from a pass of its own."""
    prompt = f"Question: {sample.question}\nAnswer:"
    start = len(tokenizer(prompt).input_ids)
    seen = []
    handles = [
        block.register_forward_hook(
            lambda _m, args, result: seen.append(
                (args[0], result[0] if isinstance(result, tuple) else result)
            )
        )
        for block in blocks(model)
    ]
    model(**tokenizer(f"{prompt} {sample.answer}", return_tensors="pt"), use_cache=False)
    for handle in handles:
        handle.remove()
    before = torch.stack([first[0, start:].double() for first, _ in seen])
    after = torch.stack([second[0, start:].double() for _, second in seen])
    return (after if site == "output" else after - before), before


@pytest.mark.parametrize("site", ["output", "update"])
def test_each_sample_equals_a_pass_of_its_own(site, tiny_model, tokenizer):
    found = observe_answers(tiny_model, tokenizer, SAMPLES, site=site, relative=RELATIVE)
    assert found.ids == ("id0", "id1", "id2", "id3", "id4")
    assert found.hallucinated.tolist() == [False, True, False, True, False]
    for row, sample in enumerate(SAMPLES):
        values, before = naive_rows(tiny_model, tokenizer, sample, site)
        assert values.shape[1] == len(sample.answer) + 1  # the space belongs to the answer
        flat = values.flatten(1)
        scale = before.square().mean(-1, keepdim=True).sqrt()
        assert float(found.count[row]) == flat.shape[1]
        torch.testing.assert_close(found.pooled[row].double(), values.mean(1), rtol=1e-3, atol=1e-4)
        torch.testing.assert_close(found.mean[row], flat.mean(1), rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(
            found.centred[row], flat.var(1, correction=0) * flat.shape[1], rtol=1e-4, atol=0
        )
        assert found.below[row].tolist() == (values.abs() < RELATIVE * scale).sum((1, 2)).tolist()
    assert 0 < found.below.sum() < found.count.sum() * found.mean.shape[1]


def test_merged_moments_equal_those_of_all_tokens(tiny_llama, tokenizer):
    found = observe_answers(tiny_llama, tokenizer, SAMPLES, site="update", relative=RELATIVE)
    rows = [naive_rows(tiny_llama, tokenizer, sample, "update") for sample in SAMPLES]
    scores = variance_over_sparsity(found)
    for layer in range(len(blocks(tiny_llama))):
        values = torch.cat([value[layer] for value, _ in rows])
        before = torch.cat([inside[layer] for _, inside in rows])
        merged = Moments.empty()
        for row in range(len(SAMPLES)):
            mean, centred = found.mean[row, layer : layer + 1], found.centred[row, layer : layer + 1]
            merged = merged.merge(Moments(int(found.count[row]), mean, centred))
        assert merged.count == values.numel()
        assert float(merged.mean) == pytest.approx(float(values.mean()), rel=1e-4, abs=1e-6)
        assert float(merged.variance()) == pytest.approx(float(values.var(correction=0)), rel=1e-5)
        small = values.abs() < RELATIVE * before.square().mean(-1, keepdim=True).sqrt()
        share = float(small.double().mean())
        assert float(scores[layer]) == pytest.approx(float(values.var(correction=0)) / share, rel=1e-4)


def test_the_batch_size_and_the_order_change_nothing(tiny_model, tokenizer):
    one = observe_answers(tiny_model, tokenizer, SAMPLES, site="update", relative=RELATIVE, batch_size=1)
    for batch_size in (2, 16):
        found = observe_answers(
            tiny_model, tokenizer, SAMPLES[::-1], site="update", relative=RELATIVE, batch_size=batch_size
        ).select(torch.arange(len(SAMPLES)).flip(0))
        assert found.ids == one.ids
        assert torch.equal(found.count, one.count)
        assert torch.equal(found.hallucinated, one.hallucinated)
        torch.testing.assert_close(found.pooled, one.pooled, rtol=2e-3, atol=1e-4)
        for name in ("mean", "centred", "below"):
            torch.testing.assert_close(getattr(found, name), getattr(one, name), rtol=1e-5, atol=1e-6)


def test_one_sample_of_one_token(tiny_llama, tokenizer):
    found = observe_answers(tiny_llama, tokenizer, SAMPLES[1:2], site="output", relative=RELATIVE)
    assert found.pooled.shape == (1, 6, 32)
    assert found.pooled.dtype == torch.float16
    assert found.count.tolist() == [2 * 32]


def test_observing_leaves_no_hook_and_reports_progress(tiny_llama, tokenizer):
    done: list[int] = []
    observe_answers(
        tiny_llama, tokenizer, SAMPLES, site="update", relative=0.1, batch_size=2, progress=done.append
    )
    assert done == [2, 2, 1]
    assert not any(module._forward_hooks for module in tiny_llama.modules())


def test_no_sample_is_refused(tiny_llama, tokenizer):
    with pytest.raises(ValueError, match="no question with an answer"):
        observe_answers(tiny_llama, tokenizer, [], site="update", relative=0.1)


def test_an_activation_that_is_not_finite_names_its_sample(tiny, tokenizer):
    model = tiny("gpt2", layers=2)
    (seven,) = tokenizer("7").input_ids
    model.transformer.wte.weight.data[seven] = math.nan
    with pytest.raises(ValueError, match="site output: an activation of sample id3 is not a finite number"):
        observe_answers(model, tokenizer, SAMPLES, site="output", relative=0.1)
    assert not any(module._forward_hooks for module in model.modules())


def test_padding_that_is_not_a_number_does_no_harm(tiny, tokenizer):
    model = tiny("gpt2", layers=2)
    clean = observe_answers(model, tokenizer, SAMPLES, site="output", relative=0.1)
    model.transformer.wte.weight.data[0] = 1e4  # the id at padded places; no text here holds it
    found = observe_answers(model, tokenizer, SAMPLES, site="output", relative=0.1)
    assert torch.equal(found.pooled, clean.pooled)
    assert torch.equal(found.centred, clean.centred)


def test_answer_tokens_start_with_the_space_before_the_answer(tokenizer):
    ids, start = answer_tokens(tokenizer, "Who?", "Ada")
    assert tokenizer.decode(ids) == "Question: Who?\nAnswer: Ada"
    assert tokenizer.decode(ids[start:]) == " Ada"


@pytest.mark.parametrize("answer", ["", "  ", "\n"])
def test_an_empty_answer_is_refused(answer, tokenizer):
    with pytest.raises(ValueError, match=r"answer '.*' to 'Who\?' adds no token"):
        answer_tokens(tokenizer, "Who?", answer)


@pytest.fixture
def dump(tiny_llama, tokenizer) -> SampleActivations:
    return observe_answers(tiny_llama, tokenizer, SAMPLES, site="update", relative=RELATIVE)


def assert_equal(found: SampleActivations, expected: SampleActivations) -> None:
    assert found.ids == expected.ids
    for name in TENSORS:
        first, second = getattr(found, name), getattr(expected, name)
        assert first.dtype == second.dtype
        assert torch.equal(first, second)


def test_a_saved_dump_comes_back_to_the_bit(dump, tmp_path):
    save_samples(dump, tmp_path / "a.safetensors")
    assert_equal(load_samples(tmp_path / "a.safetensors"), dump)
    save_samples(dump, tmp_path / "b.safetensors")
    assert (tmp_path / "a.safetensors").read_bytes() == (tmp_path / "b.safetensors").read_bytes()


@pytest.mark.parametrize("ids", [("a\nb", "", "ü", "\\n", '"')])
def test_any_id_survives_saving(ids, dump, tmp_path):
    save_samples(dataclasses.replace(dump, ids=ids), tmp_path / "a.safetensors")
    assert load_samples(tmp_path / "a.safetensors").ids == ids


def test_no_sample_at_all_survives_saving(dump, tmp_path):
    nothing = dump.select(torch.zeros(0, dtype=torch.long))
    save_samples(nothing, tmp_path / "a.safetensors")
    assert_equal(load_samples(tmp_path / "a.safetensors"), nothing)


def test_a_dump_is_a_plain_safetensors_file(dump, tmp_path):
    save_samples(dump, tmp_path / "a.safetensors")
    assert set(load_file(tmp_path / "a.safetensors")) == set(TENSORS)
    with safe_open(tmp_path / "a.safetensors", framework="pt") as handle:
        assert set(handle.metadata()) == {"ids"}


def test_select_takes_rows_with_repeats(dump):
    chosen = dump.select(torch.tensor([3, 0, 3]))
    assert chosen.ids == ("id3", "id0", "id3")
    for name in TENSORS:
        assert torch.equal(getattr(chosen, name), getattr(dump, name)[[3, 0, 3]])


@pytest.mark.parametrize("tokens", ["first", "question"])
def test_one_token_is_observed_where_one_is_asked_for(tiny_llama, tokenizer, tokens):
    sample, longer = (
        AnswerSample("a", "nq", "train", "Who wrote it?", answer, True) for answer in ("Ada", "Ada Lovelace")
    )
    seen = observe_answers(
        tiny_llama, tokenizer, [sample, longer], site="update", relative=0.1, tokens=tokens
    )
    ids, start = answer_tokens(tokenizer, sample.question, sample.answer)
    place = start if tokens == "first" else start - 1
    with torch.inference_mode():
        states = tiny_llama(torch.tensor([ids]), output_hidden_states=True).hidden_states
    for layer in range(len(states) - 2):  # the last state has passed the final norm
        update = (states[layer + 1] - states[layer])[0, place].double()
        assert torch.allclose(seen.pooled[0, layer].double(), update, atol=1e-2)
        assert float(seen.mean[0, layer]) == pytest.approx(float(update.mean()), abs=1e-5)
        assert float(seen.centred[0, layer]) == pytest.approx(
            float((update - update.mean()).square().sum()), rel=1e-4
        )
    assert seen.count.tolist() == [tiny_llama.config.hidden_size] * 2
    if tokens == "question":
        assert torch.allclose(seen.centred[0], seen.centred[1], rtol=1e-4), "before any answer"


def test_scaled_activations_do_not_depend_on_the_size_of_the_stream(tiny_llama, tokenizer):
    sample = AnswerSample("a", "nq", "train", "Who?", "Ada", True)
    plain, scaled = (
        observe_answers(
            tiny_llama, tokenizer, [sample], site="output", relative=0.5, tokens="first", scaled=each
        )
        for each in (False, True)
    )
    ids, start = answer_tokens(tokenizer, sample.question, sample.answer)
    with torch.inference_mode():
        states = tiny_llama(torch.tensor([ids]), output_hidden_states=True).hidden_states
    for layer in range(len(states) - 2):
        size = float(states[layer][0, start].double().square().mean().sqrt())
        assert float(scaled.centred[0, layer] * size**2) == pytest.approx(
            float(plain.centred[0, layer]), rel=1e-4
        )
    assert torch.equal(plain.below, scaled.below), "the threshold is relative to the stream either way"
