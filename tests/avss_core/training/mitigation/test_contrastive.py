import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn.functional import cross_entropy, normalize

from avss_core.training.mitigation.contrastive import (
    info_nce,
    masked_mean,
    mean_log_likelihood,
    preference_loss,
)


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def everything(anchors: int, candidates: int) -> torch.Tensor:
    return torch.ones(anchors, candidates, dtype=torch.bool)


def test_info_nce_of_a_hand_computed_case():
    anchors = torch.tensor([[2.0, 0.0]])
    candidates = torch.tensor([[5.0, 0.0], [0.0, 3.0], [-1.0, 0.0]])  # cosines 1, 0, -1
    positive = torch.tensor([[True, False, False]])
    loss = info_nce(anchors, candidates, positive, everything(1, 3), 0.5)
    expected = -math.log(math.exp(2) / (math.exp(2) + math.exp(0) + math.exp(-2)))
    assert float(loss) == pytest.approx(expected, rel=1e-6)


def test_info_nce_sums_over_positives():
    anchors = torch.tensor([[1.0, 0.0]])
    candidates = torch.tensor([[1.0, 0.0], [0.0, 1.0], [-1.0, 0.0]])
    positive = torch.tensor([[True, True, False]])
    loss = info_nce(anchors, candidates, positive, everything(1, 3), 1.0)
    total = math.e + 1 + math.exp(-1)
    assert float(loss) == pytest.approx(-math.log((math.e + 1) / total), rel=1e-6)


@pytest.mark.parametrize("temperature", [0.05, 1.0, 7.0])
def test_info_nce_with_one_positive_each_is_the_cross_entropy_of_the_similarities(temperature):
    anchors, candidates = torch.randn(5, 8, generator=seeded(1)), torch.randn(9, 8, generator=seeded(2))
    loss = info_nce(anchors, candidates, torch.eye(5, 9, dtype=torch.bool), everything(5, 9), temperature)
    logits = normalize(anchors) @ normalize(candidates).T / temperature
    torch.testing.assert_close(loss, cross_entropy(logits, torch.arange(5)), rtol=1e-5, atol=1e-6)


def test_a_candidate_that_is_not_allowed_equals_one_that_is_not_there():
    anchors, candidates = torch.randn(3, 4, generator=seeded(3)), torch.randn(6, 4, generator=seeded(4))
    positive, allowed = torch.eye(3, 6, dtype=torch.bool), everything(3, 6)
    allowed[:, 4:] = False
    loss = info_nce(anchors, candidates, positive, allowed, 0.1)
    without = info_nce(anchors, candidates[:4], positive[:, :4], everything(3, 4), 0.1)
    torch.testing.assert_close(loss, without)
    assert not torch.isclose(loss, info_nce(anchors, candidates, positive, everything(3, 6), 0.1))


def test_a_positive_counts_though_it_is_not_marked_as_allowed():
    anchors, candidates = torch.randn(2, 4, generator=seeded(3)), torch.randn(4, 4, generator=seeded(4))
    positive = torch.eye(2, 4, dtype=torch.bool)
    loss = info_nce(anchors, candidates, positive, ~positive, 0.1)
    torch.testing.assert_close(loss, info_nce(anchors, candidates, positive, everything(2, 4), 0.1))


def finite_loss_and_gradients(anchors, candidates, positive, allowed):
    anchors.requires_grad_()
    candidates.requires_grad_()
    loss = info_nce(anchors, candidates, positive, allowed, 0.1)
    loss.backward()
    assert loss.isfinite()
    assert anchors.grad.isfinite().all()
    assert candidates.grad.isfinite().all()
    return loss.detach(), anchors.grad, candidates.grad


def test_one_pair_has_a_finite_loss_and_gradient():
    anchors, candidates = torch.randn(1, 4, generator=seeded(5)), torch.randn(2, 4, generator=seeded(6))
    loss, pull, _ = finite_loss_and_gradients(
        anchors, candidates, torch.tensor([[True, False]]), everything(1, 2)
    )
    assert loss > 0
    assert pull.abs().sum() > 0


def test_one_pair_without_any_negative_has_no_loss_and_no_gradient():
    anchors, candidates = torch.randn(1, 4, generator=seeded(5)), torch.randn(1, 4, generator=seeded(6))
    loss, pull, push = finite_loss_and_gradients(anchors, candidates, everything(1, 1), everything(1, 1))
    assert float(loss) == 0
    assert pull.abs().max() < 1e-6
    assert push.abs().max() < 1e-6


@pytest.mark.parametrize("some_allowed", [True, False])
def test_no_positive_gives_zero_loss_and_zero_gradient(some_allowed):
    anchors, candidates = torch.randn(2, 4, generator=seeded(7)), torch.randn(3, 4, generator=seeded(8))
    none, allowed = ~everything(2, 3), everything(2, 3) & some_allowed
    loss, pull, push = finite_loss_and_gradients(anchors, candidates, none, allowed)
    assert float(loss) == 0
    assert float(pull.abs().sum() + push.abs().sum()) == 0


def test_an_anchor_without_a_positive_leaves_the_mean_of_the_others():
    anchors, candidates = torch.randn(3, 4, generator=seeded(9)), torch.randn(4, 4, generator=seeded(10))
    positive = torch.eye(3, 4, dtype=torch.bool)
    positive[1] = False
    loss, pull, _ = finite_loss_and_gradients(anchors, candidates, positive, everything(3, 4))
    others = [0, 2]
    expected = info_nce(anchors[others], candidates, positive[others], everything(2, 4), 0.1)
    torch.testing.assert_close(loss, expected.detach())
    assert float(pull[1].abs().sum()) == 0


def test_vectors_of_zeros_have_a_finite_loss_and_gradient():
    finite_loss_and_gradients(
        torch.zeros(2, 4), torch.zeros(4, 4), torch.eye(2, 4, dtype=torch.bool), everything(2, 4)
    )


def test_an_extreme_temperature_keeps_the_loss_finite():
    anchors = torch.tensor([[1.0, 0.0]])
    candidates = torch.tensor([[-1.0, 0.0], [1.0, 0.0]])
    loss = info_nce(anchors, candidates, torch.tensor([[True, False]]), everything(1, 2), 1e-4)
    assert float(loss) == pytest.approx(2e4, rel=1e-6)


def test_half_precision_representations_are_compared_in_float32():
    anchors, candidates = torch.randn(2, 8, generator=seeded(11)), torch.randn(4, 8, generator=seeded(12))
    half = info_nce(
        anchors.bfloat16(), candidates.bfloat16(), torch.eye(2, 4, dtype=torch.bool), everything(2, 4), 0.1
    )
    upcast = info_nce(
        anchors.bfloat16().float(),
        candidates.bfloat16().float(),
        torch.eye(2, 4, dtype=torch.bool),
        everything(2, 4),
        0.1,
    )
    assert half.dtype == torch.float32
    torch.testing.assert_close(half, upcast)


def test_preference_loss_of_equal_scores_is_log_2():
    scores = torch.tensor([-1.0, -2.0])
    assert float(preference_loss(scores, scores, beta=3.0)) == pytest.approx(math.log(2))


def test_preference_loss_of_a_hand_computed_case():
    accepted, wrong = torch.tensor([-1.0, -4.0]), torch.tensor([-3.0, -1.0])  # differences 2 and -3
    expected = (math.log(1 + math.exp(-0.5 * 2)) + math.log(1 + math.exp(0.5 * 3))) / 2
    assert float(preference_loss(accepted, wrong, beta=0.5)) == pytest.approx(expected, rel=1e-6)


def test_preference_loss_of_an_empty_batch_is_0():
    assert float(preference_loss(torch.zeros(0), torch.zeros(0), beta=1.0)) == 0


def test_preference_loss_of_hopeless_scores_is_finite():
    loss = preference_loss(torch.tensor([-1e5]), torch.tensor([0.0]), beta=1.0)
    assert float(loss) == pytest.approx(1e5)


@given(st.floats(-20, 20), st.floats(0.1, 5))
def test_preference_loss_falls_as_the_accepted_answer_gains(difference, beta):
    base, zero = torch.tensor([difference], dtype=torch.float64), torch.zeros(1, dtype=torch.float64)
    assert preference_loss(base + 1, zero, beta) < preference_loss(base, zero, beta)


def naive_mean_log_likelihood(logits, ids, answer):
    means = []
    for row in range(len(ids)):
        chances = [
            float(logits[row, place - 1].double().log_softmax(-1)[ids[row, place]])
            for place in range(1, ids.shape[1])
            if answer[row, place]
        ]
        means.append(sum(chances) / max(1, len(chances)))
    return torch.tensor(means)


def test_mean_log_likelihood_equals_a_loop_over_answer_tokens():
    logits, ids = (
        torch.randn(3, 6, 11, generator=seeded(13)),
        torch.randint(11, (3, 6), generator=seeded(14)),
    )
    answer = torch.zeros(3, 6, dtype=torch.bool)
    answer[0, 3:], answer[1, 2:5] = True, True  # the third row has no answer token
    expected = naive_mean_log_likelihood(logits, ids, answer)
    torch.testing.assert_close(mean_log_likelihood(logits, ids, answer), expected, rtol=1e-5, atol=1e-6)
    assert float(expected[2]) == 0


def test_mean_log_likelihood_of_a_token_among_equal_ones():
    answer = torch.tensor([[False, True, True]])
    value = mean_log_likelihood(torch.zeros(1, 3, 4), torch.tensor([[0, 1, 2]]), answer)
    assert float(value) == pytest.approx(-math.log(4))


def test_mean_log_likelihood_without_an_answer_token_has_a_finite_gradient():
    logits = torch.randn(1, 3, 4, generator=seeded(15)).requires_grad_()
    mean_log_likelihood(
        logits, torch.tensor([[0, 1, 2]]), torch.zeros(1, 3, dtype=torch.bool)
    ).sum().backward()
    assert float(logits.grad.abs().sum()) == 0


def test_masked_mean_of_a_hand_computed_case():
    hidden = torch.tensor([[[1.0, 2.0], [3.0, 4.0], [100.0, 100.0]]])
    mean = masked_mean(hidden, torch.tensor([[True, True, False]]))
    assert mean.tolist() == [[2.0, 3.0]]


def test_masked_mean_of_no_position_is_zero():
    assert masked_mean(torch.ones(1, 2, 3), torch.zeros(1, 2, dtype=torch.bool)).tolist() == [[0, 0, 0]]


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 2**31), st.integers(0, 5), st.integers(0, 4))
def test_extra_padding_changes_neither_loss_nor_gradient(seed, after, noise):
    generator = seeded(seed)
    hidden, logits = torch.randn(4, 5, 3, generator=generator), torch.randn(4, 5, 7, generator=generator)
    ids = torch.randint(7, (4, 5), generator=generator)
    answer = torch.zeros(4, 5, dtype=torch.bool)
    answer[:, 2:] = True

    def loss_and_gradients(padding):
        first = torch.cat([hidden, torch.full((4, padding, 3), float(noise))], 1).requires_grad_()
        second = torch.cat([logits, torch.full((4, padding, 7), float(noise))], 1).requires_grad_()
        words = torch.cat([ids, torch.full((4, padding), noise)], 1)
        mask = torch.cat([answer, torch.zeros(4, padding, dtype=torch.bool)], 1)
        accepted, wrong = mean_log_likelihood(second, words, mask).chunk(2)
        pooled = masked_mean(first, mask)
        contrast = info_nce(first[:2, 1], pooled, torch.eye(2, 4, dtype=torch.bool), everything(2, 4), 0.2)
        loss = preference_loss(accepted, wrong, 1.0) + contrast
        loss.backward()
        assert float(first.grad[:, 5:].abs().sum() + second.grad[:, 5:].abs().sum()) == 0
        return loss.detach(), first.grad[:, :5], second.grad[:, :5]

    for padded, plain in zip(loss_and_gradients(after), loss_and_gradients(0), strict=True):
        torch.testing.assert_close(padded, plain, rtol=1e-5, atol=1e-6)
