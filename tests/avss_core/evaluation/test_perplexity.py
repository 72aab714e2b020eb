import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn.functional import cross_entropy
from transformers import AutoConfig, AutoModelForCausalLM

from avss_core.evaluation.perplexity import HEAD_WORDS, LanguageModelling, language_modelling, token_losses
from avss_core.models.families import DECODERS, ENCODERS

TEXT = "The cat sat on the mat.\nIt was a café, wasn't it? 12 of them."


@torch.inference_mode()
def naive_losses(model, ids: list[int], window: int) -> list[float]:
    """Return the loss of each token but the first, with the context from its window's start on."""
    losses = []
    for place in range(1, len(ids)):
        start = (place - 1) // window * window
        logits = model(torch.tensor([ids[start:place]]), use_cache=False).logits[0, -1]
        losses.append(-float(logits.double().log_softmax(-1)[ids[place]]))
    return losses


@pytest.mark.parametrize("window", [1, 7, 20, 64, 128])
def test_the_loss_equals_a_loop_over_tokens_for_any_batch_size(window, tiny_model, tokenizer):
    ids = tokenizer(TEXT).input_ids
    expected = naive_losses(tiny_model, ids, window)
    means = [
        sum(part) / len(part) for part in (expected[i : i + window] for i in range(0, len(ids) - 1, window))
    ]
    for batch_size in (1, 4, 100):
        found = language_modelling(tiny_model, ids, TEXT, window=window, batch_size=batch_size)
        assert found.nll == pytest.approx(sum(expected), rel=1e-5)
        assert found.window_means == pytest.approx(means, rel=1e-5)
        assert found.tokens == len(expected)


def losses_of_logits(model, batch):
    """Return the loss of each token but the first from the model's own logits, all at once."""
    logits = model(batch[:, :-1], use_cache=False).logits
    return cross_entropy(logits.double().transpose(1, 2), batch[:, 1:], reduction="none")


@pytest.mark.parametrize("family", sorted(DECODERS))
@pytest.mark.parametrize("tied", [True, False])
@torch.inference_mode()
def test_the_loss_in_parts_is_that_of_the_logits_of_a_whole_batch(family, tied, tiny):
    model = tiny(family, 3, tie_word_embeddings=tied)
    batch = torch.randint(0, 260, (3, 101), generator=torch.Generator().manual_seed(1))
    batch[0, 1], batch[0, 2] = 0, 259  # the ends of the vocabulary
    expected = losses_of_logits(model, batch)
    for words in (1, 7, 130, 259, 260, 1000):
        torch.testing.assert_close(token_losses(model, batch, words=words), expected, rtol=1e-6, atol=1e-6)
    assert torch.equal(token_losses(model, batch), token_losses(model, batch, words=HEAD_WORDS))


@torch.inference_mode()
def test_a_projection_behind_the_last_norm_belongs_to_the_body(tiny):
    model = tiny("opt", 3, word_embed_proj_dim=16)
    batch = torch.randint(0, 256, (2, 9), generator=torch.Generator().manual_seed(2))
    torch.testing.assert_close(
        token_losses(model, batch), losses_of_logits(model, batch), rtol=1e-6, atol=1e-6
    )


@torch.inference_mode()
def test_the_bias_of_a_head_counts(tiny):
    model = tiny("llama", 2, tie_word_embeddings=False)
    model.lm_head.bias = torch.nn.Parameter(torch.randn(260, generator=torch.Generator().manual_seed(3)))
    batch = torch.randint(0, 256, (2, 9), generator=torch.Generator().manual_seed(2))
    expected = losses_of_logits(model, batch)
    torch.testing.assert_close(token_losses(model, batch, words=100), expected, rtol=1e-6, atol=1e-6)


@torch.inference_mode()
def test_logits_that_would_overflow_do_not(tiny):
    model = tiny("llama", 2, tie_word_embeddings=False)
    model.lm_head.weight.mul_(1e3)
    batch = torch.randint(0, 256, (2, 9), generator=torch.Generator().manual_seed(2))
    torch.testing.assert_close(
        token_losses(model, batch, words=50), losses_of_logits(model, batch), rtol=1e-6, atol=1e-3
    )


@torch.inference_mode()
def test_half_precision_logits_are_summed_in_float32(tiny):
    model = tiny("llama", 2).to(torch.bfloat16)
    batch = torch.randint(0, 256, (2, 9), generator=torch.Generator().manual_seed(2))
    torch.testing.assert_close(
        token_losses(model, batch, words=100), losses_of_logits(model, batch), rtol=1e-6, atol=1e-6
    )


@torch.inference_mode()
def test_an_unknown_family_is_asked_for_its_logits_which_may_be_more_than_its_head_s_output():
    sizes = {"hidden_size": 32, "intermediate_size": 64, "num_attention_heads": 4, "num_key_value_heads": 2}
    config = AutoConfig.for_model("granite", vocab_size=260, num_hidden_layers=2, logits_scaling=3.0, **sizes)
    model = AutoModelForCausalLM.from_config(config).eval()
    batch = torch.randint(0, 256, (2, 9), generator=torch.Generator().manual_seed(2))
    expected = losses_of_logits(model, batch)
    torch.testing.assert_close(token_losses(model, batch), expected, rtol=1e-6, atol=1e-6)
    torch.testing.assert_close(token_losses(model, batch, context=3), expected[:, 3:], rtol=1e-6, atol=1e-6)


@torch.inference_mode()
def test_a_soft_cap_of_the_logits_counts(tiny):
    model = tiny("gemma2", 2)
    batch = torch.randint(0, 256, (2, 9), generator=torch.Generator().manual_seed(2))
    expected = losses_of_logits(model, batch)
    model.config.final_logit_softcapping = None
    assert (losses_of_logits(model, batch) - expected).abs().max() > 0.1
    torch.testing.assert_close(token_losses(model, batch), losses_of_logits(model, batch))


@pytest.mark.parametrize("family", sorted(ENCODERS))
def test_an_encoder_predicts_no_next_token(family, tiny):
    model = tiny(family, 2)
    message = f"{family} is an encoder: it predicts no next token"
    with pytest.raises(ValueError, match=message):
        language_modelling(model, [1, 2, 4], "")
    with pytest.raises(ValueError, match=message):
        token_losses(model, torch.tensor([[1, 2, 4]]))


def test_by_default_a_short_text_is_one_window(tiny_llama, tokenizer):
    ids = tokenizer(TEXT).input_ids
    found = language_modelling(tiny_llama, ids, TEXT)
    assert found.nll == pytest.approx(sum(naive_losses(tiny_llama, ids, len(ids))), rel=1e-5)
    assert len(found.window_means) == 1


@pytest.fixture(scope="module")
def even(tiny):
    """A model that finds all of its 260 tokens equally likely."""
    model = tiny("llama", layers=1)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.zero_()
    return model


@settings(deadline=None, max_examples=60)
@given(
    length=st.integers(2, 40),
    window=st.integers(1, 45),
    context=st.integers(0, 20),
    batch_size=st.integers(1, 9),
)
def test_every_token_behind_the_first_context_is_predicted_once(length, window, context, batch_size, even):
    length += context
    places = [7 * place % 251 for place in range(length)]  # all different, so that one tells the next
    predicted: list[int] = []
    done: list[int] = []

    def watch(_module, args):
        predicted.extend((args[0][:, context:] + 7).remainder(251).flatten().tolist())

    handle = even.model.embed_tokens.register_forward_pre_hook(watch)
    try:
        found = language_modelling(
            even,
            places,
            "a b",
            window=window,
            context=context,
            batch_size=batch_size,
            progress=done.append,
        )
    finally:
        handle.remove()
    assert sorted(predicted) == sorted(places[context + 1 :])
    assert found.tokens == length - 1 - context
    assert found.nll == pytest.approx(found.tokens * math.log(260))
    assert sum(done) == len(found.window_means) == math.ceil(found.tokens / window)


@pytest.mark.parametrize("context", [1, 7, 30])
def test_tokens_behind_a_context_are_predicted_once_with_at_least_that_much_before_them(
    context, tiny_model, tokenizer
):
    ids = tokenizer(TEXT).input_ids[:61]
    found = language_modelling(tiny_model, ids, TEXT, window=10, context=context, batch_size=3)
    expected = []
    for start in range(context, 60, 10):
        piece = torch.tensor([ids[start - context : start + 11]])
        with torch.no_grad():
            logits = tiny_model(piece[:, :-1]).logits[0, context:]
        expected += cross_entropy(logits, piece[0, context + 1 :], reduction="none").tolist()
    assert found.tokens == len(expected) == 60 - context
    assert found.nll == pytest.approx(sum(expected), rel=1e-5)
    with pytest.raises(ValueError, match=f"a text of {context + 1} tokens has nothing to predict; give at "):
        language_modelling(tiny_model, ids[: context + 1], TEXT, window=10, context=context)


def test_perplexities_of_a_hand_computed_case():
    found = LanguageModelling(nll=6.0, tokens=3, words=2, bytes=12, window_means=(2.0,))
    assert found.nll_per_token == 2
    assert found.perplexities() == pytest.approx(
        {"token_perplexity": math.exp(2), "word_perplexity": math.exp(3), "byte_perplexity": math.exp(0.5)}
    )


def test_perplexities_of_an_even_model(even, tokenizer):
    found = language_modelling(even, tokenizer(TEXT).input_ids, TEXT, window=16)
    perplexities = found.perplexities()
    assert perplexities["token_perplexity"] == pytest.approx(260)
    # One token a byte here, of which the first is not predicted.
    assert found.bytes == len(TEXT.encode()) == found.tokens + 1
    assert found.words == 15
    for unit, count in (("word", found.words), ("byte", found.bytes)):
        assert count * math.log(perplexities[f"{unit}_perplexity"]) == pytest.approx(found.nll)


def test_a_hopeless_model_has_a_finite_perplexity():
    found = LanguageModelling(nll=1e6, tokens=2, words=1, bytes=1, window_means=())
    assert all(map(math.isfinite, found.perplexities().values()))


def test_a_text_without_words_counts_one(even):
    found = language_modelling(even, [1, 2], "")
    assert (found.words, found.bytes) == (1, 1)


@pytest.mark.parametrize("ids", [[], [5]])
def test_nothing_to_predict_is_refused(ids, tiny_llama):
    with pytest.raises(ValueError, match=f"a text of {len(ids)} tokens"):
        language_modelling(tiny_llama, ids, "")


def test_a_window_past_the_context_is_refused(tiny_model):
    ids = list(range(130))
    assert language_modelling(tiny_model, ids[:129], "", window=500).tokens == 128
    with pytest.raises(ValueError, match="window of 500 tokens does not fit the model's 128 positions"):
        language_modelling(tiny_model, ids, "", window=500)


def test_a_loss_that_is_not_a_number_is_refused(tiny):
    model = tiny("gpt2", layers=1)
    model.transformer.wte.weight.data[3] = math.nan
    with pytest.raises(ValueError, match="the loss is not a finite number"):
        language_modelling(model, [1, 2, 4], "")
