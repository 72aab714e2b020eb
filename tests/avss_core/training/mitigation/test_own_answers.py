"""The terms of a model's own answers and of other text: confidence, what is known already, the anchor."""

import dataclasses
import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from avss_core.evaluation.generation import answer_questions
from avss_core.metrics.calibration import brier
from avss_core.training.divergence import text_divergence
from avss_core.training.frozen_prefix import FrozenPrefix
from avss_core.training.mitigation.contrastive import brier_loss, preference_loss
from avss_core.training.mitigation.mitigation import Contrastive, ContrastiveSettings, train_contrastive
from avss_core.training.mitigation.pairs import Pair, Reply

SETTINGS = ContrastiveSettings(
    epochs=4,
    learning_rate=0.02,
    batch_size=3,
    rank=4,
    alpha=0.0,
    beta=1.0,
    gamma=0.0,
    temperature=0.2,
    patience=4,
    seed=0,
)
PROMPTS = [f"Question: {letter}?\nAnswer:" for letter in "abcdefgh"]
TEXT = [tuple(range(97 + shift, 121 + shift)) for shift in (0, 1)]


def settings(**changes):
    return dataclasses.replace(SETTINGS, **changes)


@pytest.fixture
def asked(tiny_llama, tokenizer):
    """How sure the evaluation says the model is of some answers, and pairs with them and verdicts in turn."""
    texts = [f" {letter * 2}" for letter in "hgfedcba"]
    answers = answer_questions(tiny_llama, tokenizer, PROMPTS, given=[[text] for text in texts])
    replies = [Reply(*row, place % 2 == 0) for place, row in enumerate(zip(PROMPTS, texts, strict=True))]
    pairs = [Pair(f"{n}?", "good", "bad", reply=reply) for n, reply in enumerate(replies)]
    return [math.exp(answer.given[0]) for answer in answers], pairs


@given(st.lists(st.tuples(st.floats(-9, 0), st.booleans()), min_size=1, max_size=20))
def test_the_loss_is_the_brier_score_of_the_evaluation(rows):
    scores, right = (torch.tensor(column) for column in zip(*rows, strict=True))
    mine = float(brier_loss(scores.double(), right))
    assert mine == pytest.approx(brier(scores.double().exp().numpy(), right.numpy()))


def test_the_confidence_is_the_one_that_the_evaluation_reports(tiny_llama, tokenizer, asked):
    confidences, pairs = asked
    objective = Contrastive(tokenizer, pairs, pairs, [1], settings(cross_entropy=0.0, brier=1.0))
    terms = objective.terms(FrozenPrefix(tiny_llama), objective.train, judging=False)
    assert set(terms) == {"brier"}
    wanted = brier(confidences, [pair.reply.correct for pair in pairs])
    assert float(terms["brier"].detach()) == pytest.approx(wanted, rel=1e-4)


def test_the_score_falls_on_answers_that_are_learnt(tiny_llama, tokenizer, asked):
    _, pairs = asked
    _, training = train_contrastive(
        tiny_llama, tokenizer, pairs, pairs, [1, 2], settings(cross_entropy=0.0, brier=1.0)
    )
    first, last = (training.epochs[place].validation_terms["brier"] for place in (0, -1))
    assert last < first


def test_no_own_answer_in_a_batch_is_no_error(tiny_llama, tokenizer, asked):
    _, pairs = asked
    silent = [dataclasses.replace(pair, reply=Reply("Question: ?\nAnswer:", "", False)) for pair in pairs]
    objective = Contrastive(tokenizer, silent, silent, [1], settings(cross_entropy=0.0, brier=1.0))
    term = objective.terms(FrozenPrefix(tiny_llama), objective.train, judging=False)["brier"]
    assert float(term.detach()) == 0
    _, training = train_contrastive(
        tiny_llama, tokenizer, silent, silent, [1], settings(cross_entropy=0.0, brier=1.0, epochs=1)
    )
    assert training.epochs[0].train_loss == 0


def test_what_is_known_counts_as_often_as_asked(tiny_llama, tokenizer, asked):
    _, pairs = asked
    known = [dataclasses.replace(p, reply=dataclasses.replace(p.reply, correct=True)) for p in pairs]

    def terms(weight, own):
        chosen = settings(known=weight, alpha=1.0)
        objective = Contrastive(tokenizer, own, own, [1], chosen)
        found = objective.terms(FrozenPrefix(tiny_llama), objective.train, judging=False)
        return {name: float(term.detach()) for name, term in found.items()}

    whole, half, none, mixed = terms(1.0, pairs), terms(0.5, known), terms(0.0, known), terms(0.5, pairs)
    assert none == {"cross_entropy": 0, "preference": 0}
    for name, value in whole.items():
        assert half[name] == pytest.approx(value / 2)
        assert value / 2 < mixed[name] < value


def test_weights_of_the_preference_count_its_rows():
    good, bad = torch.tensor([-1.0, -2.0]), torch.tensor([-2.0, -1.0])
    one, two = (float(preference_loss(good[i : i + 1], bad[i : i + 1], 1.0)) for i in (0, 1))
    both = float(preference_loss(good, bad, 1.0, torch.tensor([3.0, 0.5])))
    assert both == pytest.approx((3 * one + two / 2) / 2)


def test_the_anchor_is_zero_before_a_training_and_holds_the_text(tiny_llama, tokenizer, asked):
    _, pairs = asked
    chosen = settings(anchor=30.0)
    objective = Contrastive(tokenizer, pairs, pairs, [1], chosen, base=tiny_llama, anchors=(TEXT, TEXT))
    terms = objective.terms(FrozenPrefix(tiny_llama), objective.train, judging=True)
    assert float(terms["anchor"].detach()) == pytest.approx(0, abs=1e-6)

    def moved(weight):
        anchors = (TEXT, TEXT) if weight else ((), ())
        model, _ = train_contrastive(
            tiny_llama, tokenizer, pairs, pairs, [1, 2], settings(anchor=weight), anchors=anchors
        )
        return sum(text_divergence(tiny_llama, model, TEXT[0], window=23))

    assert moved(30.0) < moved(0.0) / 3


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"brier": 1.0}, "the model's own answers"),
        ({"known": 0.5}, "the model's own answers"),
        ({"anchor": 1.0}, "windows of other text"),
        ({"cross_entropy": 0.0}, "brier and anchor"),
    ],
)
def test_a_term_without_what_it_is_made_of_is_refused(tokenizer, changes, said):
    pairs = [Pair("a?", "aa", "no")]
    with pytest.raises(ValueError, match=said):
        Contrastive(tokenizer, pairs, pairs, [1], settings(**changes))
