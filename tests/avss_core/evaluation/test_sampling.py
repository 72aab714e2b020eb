import math

import numpy as np
import pytest
import torch
from scipy.stats import chisquare

from avss_core.evaluation.generation import answer_questions
from avss_core.evaluation.prompts import few_shot_prompt
from avss_core.evaluation.sampling import Sampling, TokenNoise, draw_seed

SHOTS = [("Is it on?", "yes"), ("How many?", "7")]
QUESTIONS = ("Who?", "Where is the old red house?", "What?", "Why did it rain on that day?", "So?")
PROMPTS = [few_shot_prompt(SHOTS, question) for question in QUESTIONS for _ in range(3)]
SEEDS = [draw_seed(0, question, draw) for question in QUESTIONS for draw in range(3)]


def drawn(model, tokenizer, temperature: float = 1.0, seeds=SEEDS, **settings):
    settings = {"max_new_tokens": 6, **settings, "sampling": Sampling(temperature, seeds)}
    return answer_questions(model, tokenizer, PROMPTS, **settings)


def test_tokens_of_a_hand_made_case():
    noise = TokenNoise(0.5, [7])
    expected = -np.log(np.random.default_rng(7).standard_exponential(3))
    logits = torch.tensor([[0.3, 0.1, -0.2]])
    assert noise.pick(logits, [0]).tolist() == [int((logits[0].numpy() / 0.5 + expected).argmax())]


@pytest.mark.parametrize("temperature", [0.5, 1.0, 2.0])
def test_tokens_follow_the_softmax_at_the_temperature(temperature):
    rows = 20_000
    logits = torch.tensor([0.0, 1.0, -1.0, 2.0, 0.5])
    noise = TokenNoise(temperature, [draw_seed(0, "q", row) for row in range(rows)])
    expected = rows * (logits.double() / temperature).softmax(-1)
    for _ in range(2):  # a row's first token and its second
        picked = noise.pick(logits.expand(rows, 5), range(rows))
        counts = torch.bincount(picked, minlength=5)
        assert chisquare(counts.numpy(), expected.numpy()).pvalue > 0.01
        other = rows * (logits.double() / (1.1 * temperature)).softmax(-1)
        assert chisquare(counts.numpy(), other.numpy()).pvalue < 1e-4


def test_the_tokens_of_a_row_do_not_follow_from_those_before():
    rows = 4_000
    noise = TokenNoise(1.0, [draw_seed(1, "q", row) for row in range(rows)])
    first, second = (noise.pick(torch.zeros(rows, 2), range(rows)) for _ in range(2))
    counts = torch.bincount(2 * first + second, minlength=4)
    assert chisquare(counts.numpy()).pvalue > 0.01


def test_a_sequence_draws_the_same_whoever_is_beside_it():
    logits = torch.randn(3, 50, generator=torch.Generator().manual_seed(0))
    together = TokenNoise(1.0, [1, 2, 3])
    alone = TokenNoise(1.0, [3])
    assert together.pick(logits, [0, 1, 2])[2] == alone.pick(logits[2:], [0])[0]
    assert together.pick(logits[2:], [2]) == alone.pick(logits[2:], [0])  # the others have ended


@pytest.mark.parametrize("temperature", [0.0, -1.0, math.nan, math.inf])
def test_a_temperature_that_no_distribution_has_is_refused(temperature):
    with pytest.raises(ValueError, match=f"the temperature is {temperature}"):
        Sampling(temperature, [1])


def test_draws_are_told_apart_by_seed_question_and_number():
    keys = [(seed, question, draw) for seed in (0, 1, 11) for question in ("1:0", "0") for draw in (0, 1, 10)]
    assert len({draw_seed(*key) for key in keys}) == len(keys)


def test_answers_do_not_depend_on_the_batch_size(tiny_model, tokenizer):
    one, three, eight = (drawn(tiny_model, tokenizer, batch_size=size) for size in (1, 3, 8))
    assert [answer.text for answer in one] == [answer.text for answer in three]
    assert [answer.text for answer in one] == [answer.text for answer in eight]
    confidences = [[answer.confidence for answer in found] for found in (one, three, eight)]
    np.testing.assert_allclose(confidences[1:], [confidences[0]] * 2, rtol=1e-4)
    assert len({answer.text for answer in one}) > len(QUESTIONS)


def test_towards_temperature_0_answers_are_the_greedy_ones(tiny_model, tokenizer):
    greedy = answer_questions(tiny_model, tokenizer, PROMPTS, max_new_tokens=6)
    assert drawn(tiny_model, tokenizer, 1e-9) == greedy
    assert [answer.text for answer in drawn(tiny_model, tokenizer)] != [answer.text for answer in greedy]


def test_other_seeds_give_other_answers_and_the_same_seeds_the_same(tiny_model, tokenizer):
    others = [draw_seed(1, question, draw) for question in QUESTIONS for draw in range(3)]
    assert drawn(tiny_model, tokenizer) == drawn(tiny_model, tokenizer)
    pairs = zip(drawn(tiny_model, tokenizer), drawn(tiny_model, tokenizer, seeds=others), strict=True)
    assert sum(first.text != second.text for first, second in pairs) > len(PROMPTS) / 2


@torch.inference_mode()
def test_a_drawn_answer_has_its_own_probability_at_temperature_1(tiny_model, tokenizer):
    answers = drawn(tiny_model, tokenizer, 3.0, max_new_tokens=1)
    shown = [(p, a) for p, a in zip(PROMPTS, answers, strict=True) if len(a.text) == 1 and a.text.isascii()]
    assert len(shown) > 2
    for prompt, answer in shown:
        chances = tiny_model(tokenizer(prompt, return_tensors="pt").input_ids).logits[0, -1].softmax(-1)
        assert answer.confidence == pytest.approx(float(chances[tokenizer(answer.text).input_ids]), rel=1e-4)


def test_a_prompt_without_a_seed_is_refused(tiny_llama, tokenizer):
    with pytest.raises(ValueError, match="15 prompts and 14 seeds"):
        drawn(tiny_llama, tokenizer, seeds=SEEDS[1:])
