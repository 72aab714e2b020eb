import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn.functional import kl_div

from avss_core.training.distillation import (
    TopLogits,
    hidden_distance,
    kl_divergence,
    top_kl_divergence,
    top_logits,
)

TOKENS, WORDS = 5, 12


def draw(seed: int, *shape: int, scale: float = 2.0) -> torch.Tensor:
    return scale * torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def test_divergence_of_a_hand_computed_case():
    teacher = torch.tensor([[math.log(0.5), math.log(0.5)]])
    student = torch.tensor([[math.log(0.9), math.log(0.1)]])
    expected = 0.5 * math.log(0.5 / 0.9) + 0.5 * math.log(0.5 / 0.1)
    assert float(kl_divergence(teacher, student)) == pytest.approx(expected, rel=1e-6)


def test_divergence_equals_that_of_torch():
    teacher, student = draw(1, TOKENS, WORDS), draw(2, TOKENS, WORDS)
    expected = kl_div(student.log_softmax(-1), teacher.log_softmax(-1), reduction="none", log_target=True)
    torch.testing.assert_close(kl_divergence(teacher, student), expected.sum(-1))
    halved = kl_divergence(teacher / 2, student / 2)
    torch.testing.assert_close(kl_divergence(teacher, student, 2.0), 4 * halved)


@given(st.integers(0, 2**31), st.floats(-50, 50))
def test_divergence_is_0_of_equal_distributions_and_positive_of_others(seed, shift):
    teacher = draw(seed, TOKENS, WORDS)
    assert float(kl_divergence(teacher, teacher + shift).abs().max()) < 1e-4
    assert bool((kl_divergence(teacher, draw(seed + 1, TOKENS, WORDS)) > 0).all())


def test_the_gradient_of_a_divergence_is_the_difference_of_the_chances():
    teacher, student = draw(3, TOKENS, WORDS), draw(4, TOKENS, WORDS).requires_grad_()
    kl_divergence(teacher, student).sum().backward()
    torch.testing.assert_close(student.grad, student.detach().softmax(-1) - teacher.softmax(-1))


@given(st.integers(0, 2**31))
def test_a_divergence_over_top_words_grows_with_them_up_to_the_whole(seed):
    teacher, student = draw(seed, TOKENS, WORDS), draw(seed + 1, TOKENS, WORDS)
    whole = kl_divergence(teacher, student)
    before = torch.zeros(TOKENS)
    for top_k in range(1, WORDS + 2):
        found = top_kl_divergence(top_logits(teacher, top_k), student)
        assert bool((found >= before - 1e-5).all())
        assert bool((found <= whole + 1e-5).all())
        before = found
        if top_k >= WORDS - 1:
            torch.testing.assert_close(found, whole, rtol=1e-4, atol=1e-5)


def test_a_divergence_over_top_words_of_a_hand_computed_case():
    teacher = torch.tensor([[0.6, 0.1, 0.3]]).log()
    student = torch.tensor([[0.2, 0.5, 0.3]]).log()
    top = top_logits(teacher, 1)
    assert top.words.tolist() == [[0]]
    expected = 0.6 * math.log(0.6 / 0.2) + 0.4 * math.log(0.4 / 0.8)
    assert float(top_kl_divergence(top, student)) == pytest.approx(expected, rel=1e-5)


def test_a_bucket_of_nothing_has_a_finite_loss_and_gradient():
    teacher = torch.tensor([[200.0, 0.0, 0.0]])
    student = draw(5, 1, 3).requires_grad_()
    loss = top_kl_divergence(top_logits(teacher, 1), student)
    loss.sum().backward()
    assert float(loss.detach()) == pytest.approx(-float(student.detach().log_softmax(-1)[0, 0]), rel=1e-5)
    assert student.grad.isfinite().all()


def test_chances_that_sum_past_1_by_rounding_stay_finite():
    top = TopLogits(torch.full((1, 2), math.log(0.5) + 1e-6), torch.tensor([[0, 1]], dtype=torch.int32))
    assert top_kl_divergence(top, draw(6, 1, 4)).isfinite().all()


def test_the_temperature_is_that_of_the_whole():
    teacher, student = draw(7, TOKENS, WORDS), draw(8, TOKENS, WORDS)
    found = top_kl_divergence(top_logits(teacher, WORDS, 3.0), student, 3.0)
    torch.testing.assert_close(found, kl_divergence(teacher, student, 3.0), rtol=1e-4, atol=1e-5)


def test_hidden_distance_is_twice_1_minus_the_cosine():
    one, other = draw(9, TOKENS, 8), draw(10, TOKENS, 8)
    expected = 2 * (1 - torch.cosine_similarity(one, other, dim=-1)).mean()
    torch.testing.assert_close(hidden_distance(one, other), expected)
    torch.testing.assert_close(hidden_distance(7 * one, 0.1 * other), expected)
    assert float(hidden_distance(one, 3 * one)) == pytest.approx(0, abs=1e-6)
    assert float(hidden_distance(one, -one)) == pytest.approx(4, rel=1e-5)


def test_hidden_distance_of_zeros_has_a_finite_gradient():
    student = torch.zeros(2, 4).requires_grad_()
    hidden_distance(draw(11, 2, 4), student).backward()
    assert student.grad.isfinite().all()
