"""Text that a model draws from its own distribution."""

import pytest
import torch

from avss_core.training.drawn_text import drawn_text


def test_a_window_begins_with_its_opening_and_has_the_length_asked_for(tiny):
    model = tiny("llama")
    texts = drawn_text(model, [(1, 2), (3, 4)], window=9, seed=0)
    assert [text[:2] for text in texts] == [(1, 2), (3, 4)]
    assert [len(text) for text in texts] == [9, 9]
    assert all(0 <= token < model.config.vocab_size for text in texts for token in text)


def test_the_same_seed_draws_the_same_text_and_leaves_the_generator_alone(tiny):
    model = tiny("llama")
    before = torch.random.get_rng_state()
    first, again, other = (drawn_text(model, [(1,)] * 4, window=12, seed=seed) for seed in (3, 3, 4))
    assert first == again != other
    assert len(set(first)) > 1, "each text has draws of its own"
    assert torch.equal(before, torch.random.get_rng_state())


def test_words_come_as_often_as_the_model_says(tiny):
    model, draws = tiny("llama"), 4000
    texts = drawn_text(model, [(1, 5)] * draws, window=3, seed=0)
    with torch.inference_mode():
        chances = model(input_ids=torch.tensor([[1, 5]])).logits[0, -1].double().softmax(-1)
    counts = torch.bincount(torch.tensor([text[2] for text in texts]), minlength=len(chances)).double()
    # The statistic of a chi-squared test has the mean k - 1 and the variance 2 (k - 1) at least roughly.
    free = len(chances) - 1
    statistic = float(((counts - draws * chances).square() / (draws * chances)).sum())
    assert abs(statistic - free) < 6 * (2 * free) ** 0.5


def test_a_text_goes_on_behind_its_end_whatever_the_model_was_set_to(tiny):
    model = tiny("llama")
    ends = list(range(model.config.vocab_size))
    model.generation_config.eos_token_id = ends
    model.generation_config.repetition_penalty = 9.0
    (text,) = drawn_text(model, [(1,)], window=10, seed=0)
    assert len(text) == 10
    model.generation_config.eos_token_id, model.generation_config.repetition_penalty = None, 1.0
    assert drawn_text(model, [(1,)], window=10, seed=0) == [text]


@pytest.mark.parametrize("openings", [[()], [(1, 2, 3)], [(1,), (1, 2)]])
def test_openings_that_begin_no_window_are_refused(tiny, openings):
    with pytest.raises(ValueError, match="do not begin windows of 3 tokens"):
        drawn_text(tiny("llama"), openings, window=3, seed=0)


def test_no_opening_is_no_text(tiny):
    assert drawn_text(tiny("llama"), [], window=3, seed=0) == []
