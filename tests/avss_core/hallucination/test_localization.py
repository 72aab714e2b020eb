import dataclasses
import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import norm

from avss_core.hallucination.localization import (
    READINGS,
    eavss,
    eavss_contrast,
    eavss_paired,
    find_reading,
    localize,
    mean_over_sets,
    probe_auroc,
    question_weights,
    variance_over_sparsity,
)
from avss_core.hallucination.samples import SampleActivations


def of_values(values: list[torch.Tensor], tau: float, hallucinated: bool = True) -> SampleActivations:
    """Return the dump of samples given as [tokens, layers, hidden] each, computed with numpy."""
    flat = [value.double().numpy().transpose(1, 0, 2).reshape(value.shape[1], -1) for value in values]
    return SampleActivations(
        ids=tuple(f"s{i}" for i in range(len(values))),
        hallucinated=torch.full((len(values),), hallucinated),
        pooled=torch.stack([value.mean(0) for value in values]).half(),
        count=torch.tensor([float(f.shape[1]) for f in flat], dtype=torch.float64),
        mean=torch.from_numpy(np.stack([f.mean(1) for f in flat])),
        centred=torch.from_numpy(np.stack([f.var(1) * f.shape[1] for f in flat])),
        below=torch.from_numpy(np.stack([(abs(f) < tau).sum(1).astype(float) for f in flat])),
    )


def random_values(seed: int, samples: int = 6, layers: int = 3, hidden: int = 4) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    tokens = torch.randint(1, 5, (samples,), generator=generator).tolist()
    return [torch.randn(n, layers, hidden, generator=generator) + n for n in tokens]


def random_dump(seed: int, hallucinated: bool = True, **sizes: int) -> SampleActivations:
    return of_values(random_values(seed, **sizes), 0.5, hallucinated)


def with_pooled(pooled: torch.Tensor, hallucinated: torch.Tensor) -> SampleActivations:
    rows, layers = pooled.shape[:2]
    ones = torch.ones(rows, layers, dtype=torch.float64)
    ids = tuple(map(str, range(rows)))
    return SampleActivations(ids, hallucinated, pooled.half(), ones[:, 0], ones, ones, ones)


# Two layers of one hidden unit. Layer 0 holds 1, 3 and 5, 7: mean 4, variance (9+1+1+9)/4 = 5; |a| < 4 for
# two of four. Layer 1 holds 0, 0 and 2, 2: mean 1, variance 1; |a| < 4 for all.
BY_HAND = [
    torch.tensor([[[1.0], [0.0]], [[3.0], [0.0]]]),
    torch.tensor([[[5.0], [2.0]], [[7.0], [2.0]]]),
]


def test_variance_over_sparsity_of_a_hand_computed_case():
    scores = variance_over_sparsity(of_values(BY_HAND, 4.0))
    assert scores.tolist() == pytest.approx([5 / 0.5, 1 / 1.0])


def test_variance_over_sparsity_without_a_small_value_counts_half_a_value():
    scores = variance_over_sparsity(of_values(BY_HAND, 0.0))
    assert scores.tolist() == pytest.approx([5 / (0.5 / 4), 1 / (0.5 / 4)])


def test_eavss_of_a_hand_computed_case_sums_to_1():
    dump = of_values(BY_HAND, 4.0)
    assert eavss(dump, dump).tolist() == pytest.approx([10 / 11, 1 / 11])


def test_eavss_contrast_of_a_hand_computed_case():
    # Doubled values under a doubled threshold: 4 times the variance, the same share.
    doubled = of_values([2 * value for value in BY_HAND], 8.0)
    contrast = eavss_contrast(doubled, of_values(BY_HAND, 4.0))
    assert contrast.tolist() == pytest.approx([math.log(4), math.log(4)])


def test_eavss_paired_of_a_hand_computed_case():
    hallucinated = with_pooled(torch.tensor([[[1.0]], [[3.0]]]), torch.tensor([True, True]))
    truthful = with_pooled(torch.tensor([[[2.0]], [[0.0]]]), torch.tensor([False, False]))
    # Differences -1 and 3: variance 4. All of 1, 3, 2, 0: mean 1.5, variance (.25+2.25+.25+2.25)/4 = 1.25.
    assert eavss_paired(hallucinated, truthful).tolist() == pytest.approx([4 / 1.25])


def test_eavss_paired_of_unrelated_answers_is_near_2():
    generator = torch.Generator().manual_seed(0)
    pooled = torch.randn(2, 4000, 1, 8, generator=generator)
    kinds = torch.zeros(4000, dtype=torch.bool)
    value = eavss_paired(with_pooled(pooled[0], ~kinds), with_pooled(pooled[1], kinds))
    assert float(value) == pytest.approx(2, abs=0.05)


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 2**31), st.integers(1, 5))
def test_moments_of_samples_merge_to_those_of_all_tokens(seed, parts):
    values = random_values(seed)
    together = [torch.cat(values[start::parts]) for start in range(parts)]
    torch.testing.assert_close(
        variance_over_sparsity(of_values(together, 0.5)), variance_over_sparsity(of_values(values, 0.5))
    )


@pytest.mark.parametrize("seed", range(3))
def test_contrast_is_antisymmetric(seed):
    first, second = random_dump(seed), random_dump(seed + 10, False)
    contrast = eavss_contrast(first, second)
    torch.testing.assert_close(contrast, -eavss_contrast(second, first))
    assert contrast.abs().max() > 0


def test_identical_answers_have_contrast_0_and_paired_0():
    dump = random_dump(1)
    same = dataclasses.replace(dump, hallucinated=~dump.hallucinated)
    assert eavss_contrast(dump, same).tolist() == [0, 0, 0]
    assert eavss_paired(dump, same).tolist() == [0, 0, 0]


def test_a_layer_that_never_varies_keeps_contrast_and_paired_finite():
    silent = of_values([torch.zeros(2, 2, 3), torch.zeros(3, 2, 3)], 0.5)
    assert eavss_contrast(silent, silent).tolist() == [0, 0]
    assert eavss_paired(silent, silent).tolist() == [0, 0]
    assert eavss_contrast(random_dump(1, layers=2), silent).isfinite().all()


@pytest.mark.parametrize("reading", READINGS)
def test_the_interval_holds_the_value_and_is_the_same_for_the_same_seed(reading):
    first, second = random_dump(2, samples=60), random_dump(3, False, samples=60)
    found = localize(first, second, reading, seed=0)
    torch.testing.assert_close(found.values, READINGS[reading].function(first, second))
    assert (found.low < found.values).all()
    assert (found.values < found.high).all()
    again = localize(first, second, reading, seed=0)
    assert torch.equal(found.low, again.low)
    assert torch.equal(found.high, again.high)
    assert not torch.equal(found.low, localize(first, second, reading, seed=1).low)


def test_the_interval_is_as_wide_as_the_spread_over_fresh_questions():
    def contrast(seed: int) -> torch.Tensor:
        return eavss_contrast(random_dump(seed, samples=50), random_dump(seed + 1000, False, samples=50))

    spread = torch.stack([contrast(seed) for seed in range(100)]).std(0)
    found = localize(
        random_dump(0, samples=50), random_dump(1000, False, samples=50), "eavss_contrast", seed=0
    )
    expected = 2 * norm.ppf(0.975) * spread
    assert ((found.high - found.low) / expected).sub(1).abs().max() < 0.35


def test_the_bootstrap_draws_the_same_questions_on_both_sides():
    dump = random_dump(4, samples=20)
    found = localize(dump, dump, "eavss_contrast", seed=0)
    assert found.low.tolist() == found.high.tolist() == [0, 0, 0]


def test_the_bootstrap_leaves_the_global_generator_alone():
    before = torch.random.get_rng_state()
    localize(random_dump(5), random_dump(6, False), "eavss_paired", seed=0, resamples=3)
    assert torch.equal(before, torch.random.get_rng_state())


def test_two_questions_are_enough_and_one_is_not():
    two, one = random_dump(7, samples=2), random_dump(7, samples=1)
    assert localize(two, two, "eavss_contrast", seed=0, resamples=1).values.shape == (3,)
    with pytest.raises(ValueError, match="got 1 hallucinated and 1 truthful"):
        localize(one, one, "eavss_contrast", seed=0)


def test_rows_that_do_not_pair_are_refused():
    with pytest.raises(ValueError, match="got 3 hallucinated and 2 truthful"):
        localize(random_dump(8, samples=3), random_dump(8, samples=2), "eavss_paired", seed=0)


def test_an_unknown_reading_names_near_ones():
    with pytest.raises(
        LookupError, match=r"'eavss_contrst': did you mean eavss_contrast.*known EAVSS readings: eavss, "
    ):
        find_reading("eavss_contrst")
    with pytest.raises(LookupError, match="unknown EAVSS reading 'zzz': known EAVSS readings: "):
        localize(random_dump(9), random_dump(9), "zzz", seed=0)


def probe_case(seed: int, rows: int, gap: float) -> SampleActivations:
    """Return answers: layer 0 separates the kinds by `gap`, layer 1 is noise, layer 2 a constant."""
    generator = torch.Generator().manual_seed(seed)
    kinds = torch.arange(rows) % 2 == 0
    pooled = torch.randn(rows, 3, 8, generator=generator)
    pooled[:, 0] += gap * kinds.unsqueeze(1)
    pooled[:, 2] = 1.0
    return with_pooled(pooled, kinds)


def test_a_probe_finds_what_separates_and_nothing_in_noise():
    found = probe_auroc(probe_case(0, 400, 10.0), probe_case(1, 400, 10.0))
    assert found[0] == 1.0
    assert 0.4 < found[1] < 0.6
    assert found[2] == 0.5


def test_a_probe_does_not_look_at_the_validation_labels():
    train, validation = probe_case(2, 100, 10.0), probe_case(3, 100, 10.0)
    swapped = dataclasses.replace(validation, hallucinated=~validation.hallucinated)
    assert probe_auroc(train, swapped)[0] == 0.0


def test_a_probe_without_both_kinds_is_refused():
    both = probe_case(4, 10, 1.0)
    wrong = dataclasses.replace(both, hallucinated=torch.ones(10, dtype=torch.bool))
    with pytest.raises(ValueError, match="the train part"):
        probe_auroc(wrong, both)
    with pytest.raises(ValueError, match="the validation part"):
        probe_auroc(both, dataclasses.replace(both, hallucinated=~wrong.hallucinated))


@pytest.mark.parametrize("reading", READINGS)
@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 2**31))
def test_a_weight_counts_a_pair_as_often_as_its_copies(reading, seed):
    first, second = random_dump(seed), random_dump(seed + 1, False)
    often = torch.tensor([[2, 0, 1, 1, 3, 0], [1, 1, 1, 1, 1, 1], [0, 5, 0, 0, 0, 1]])
    found = READINGS[reading].function(first, second, often.double())
    for row, counts in enumerate(often):
        copies = torch.arange(6).repeat_interleave(counts)
        expected = READINGS[reading].function(first.select(copies), second.select(copies))
        torch.testing.assert_close(found[row], expected, rtol=1e-9, atol=1e-12)


def test_the_readings_equal_numpy_s_variances():
    first, second = random_dump(20, samples=9), random_dump(21, False, samples=9)
    f, s = first.pooled.double().numpy(), second.pooled.double().numpy()
    within = (f.var(0) + s.var(0)).sum(-1) / 2 + ((f.mean(0) - s.mean(0)) ** 2).sum(-1) / 4
    np.testing.assert_allclose(eavss_paired(first, second).numpy(), (f - s).var(0).sum(-1) / within)


def test_a_far_off_mean_costs_no_digits():
    near = random_dump(22)
    far = dataclasses.replace(near, mean=near.mean + 1e6)
    torch.testing.assert_close(variance_over_sparsity(far), variance_over_sparsity(near), rtol=1e-6, atol=0)


def test_the_pairs_of_a_question_are_drawn_together():
    weights = question_weights(["a", "b", "a", "c"], seed=0, resamples=50)
    assert torch.equal(weights[:, 0], weights[:, 2])
    assert (weights[:, [0, 1, 3]].sum(1) == 3).all()
    assert len(weights[:, [0, 1, 3]].unique(dim=0)) > 5


@pytest.mark.parametrize("reading", READINGS)
def test_a_second_pair_that_repeats_the_first_leaves_the_interval_as_it_is(reading):
    first, second = random_dump(2, samples=30), random_dump(3, False, samples=30)
    twice = torch.arange(30).repeat(2)
    once = localize(first, second, reading, seed=0)
    found = localize(
        first.select(twice), second.select(twice), reading, questions=list(map(str, twice.tolist())), seed=0
    )
    torch.testing.assert_close(found.low, once.low)
    torch.testing.assert_close(found.high, once.high)
    # As pairs of 60 questions they would pretend to know more.
    ids = list(map(str, range(60)))
    apart = localize(first.select(twice), second.select(twice), reading, questions=ids, seed=0)
    assert ((apart.high - apart.low) < 0.9 * (once.high - once.low)).all()


def test_two_pairs_of_one_question_are_one_question():
    two = random_dump(7, samples=2)
    with pytest.raises(ValueError, match="got 2 hallucinated and 2 truthful ones of 1 questions"):
        localize(two, two, "eavss", questions=["a", "a"], seed=0)


def test_the_mean_over_sets_counts_each_set_once_however_many_questions_it_has():
    small, large = (
        localize(*(random_dump(seed + kind, samples=count) for kind in (0, 50)), "eavss_contrast", seed=0)
        for seed, count in ((0, 3), (1, 40))
    )
    found = mean_over_sets([small, large])
    assert torch.equal(found.values, (small.values + large.values) / 2)
    drawn = (small.draws + large.draws) / 2
    assert torch.equal(found.low, drawn.quantile(0.025, dim=0))
    assert torch.equal(found.high, drawn.quantile(0.975, dim=0))
    alone = mean_over_sets([large])
    assert torch.equal(alone.values, large.values)
    assert torch.equal(alone.low, large.low)
    with pytest.raises(ValueError, match="no question set"):
        mean_over_sets([])


def test_long_answers_of_one_set_do_not_decide_for_the_others():
    # In the long set the wrong answers vary less, in the short one more, by the same factor.
    def constant(variance: float, tokens: int) -> SampleActivations:
        value = torch.tensor([variance**0.5, -(variance**0.5)]).repeat(tokens, 1, 1)
        return of_values([value, value], 0.5)

    long = localize(constant(1.0, 50), constant(4.0, 50), "eavss_contrast", seed=0)
    short = localize(constant(4.0, 2), constant(1.0, 2), "eavss_contrast", seed=0)
    assert mean_over_sets([long, short]).values.tolist() == pytest.approx([0.0])
    pooled = localize(
        of_values(
            [
                torch.ones(50, 1, 2) * torch.tensor([1.0, -1.0]),
                torch.ones(2, 1, 2) * torch.tensor([2.0, -2.0]),
            ],
            0.5,
        ),
        of_values(
            [
                torch.ones(50, 1, 2) * torch.tensor([2.0, -2.0]),
                torch.ones(2, 1, 2) * torch.tensor([1.0, -1.0]),
            ],
            0.5,
        ),
        "eavss_contrast",
        seed=0,
    )
    assert pooled.values.item() < -1
