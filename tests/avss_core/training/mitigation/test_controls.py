import pytest
from hypothesis import given
from hypothesis import strategies as st

from avss_core.training.mitigation.controls import CONTROLS, Variant, agreement_with_training, variants

RANKED = [5, 2, 7, 0, 1, 6, 3, 4]


def test_what_each_control_trains_by_hand() -> None:
    found = variants(RANKED, 3, CONTROLS, draws=2, seed=0)
    assert list(found) == ["mitigated", "cross_entropy", "random_1", "random_2", "lowest", "all"]
    assert found["mitigated"] == Variant((2, 5, 7))
    assert found["cross_entropy"] == Variant((2, 5, 7), contrastive=False)
    assert found["lowest"] == Variant((3, 4, 6))
    assert found["all"] == Variant((0, 1, 2, 3, 4, 5, 6, 7))


@given(st.permutations(range(10)), st.integers(1, 9), st.integers(0, 4), st.integers(0, 99))
def test_random_draws_are_other_choices_of_equal_size(ranked, count, draws, seed) -> None:
    found = variants(ranked, count, ["random"], draws=draws, seed=seed)
    assert found == variants(ranked, count, ["random"], draws=draws, seed=seed)
    drawn = [variant.layers for name, variant in found.items() if name.startswith("random")]
    assert len(drawn) == draws == len(set(drawn))
    for layers in drawn:
        assert len(layers) == count
        assert set(layers) <= set(range(10))
        assert layers == tuple(sorted(set(layers)))
        assert layers != found["mitigated"].layers


def test_a_control_equal_to_the_mitigation_is_left_out() -> None:
    assert list(variants([1, 0], 2, CONTROLS, draws=3, seed=0)) == ["mitigated", "cross_entropy"]
    assert list(variants([0], 4, CONTROLS, draws=3, seed=0)) == ["mitigated", "cross_entropy"]
    # Two of three layers can be chosen in three ways, one of which is the mitigation's.
    assert len(variants([2, 1, 0], 2, ["random"], draws=9, seed=0)) == 3


def test_draws_differ_by_seed() -> None:
    first, second = (variants(range(30), 8, ["random"], draws=1, seed=seed) for seed in (0, 1))
    assert first["random_1"] != second["random_1"]


@pytest.mark.parametrize(
    ("ranked", "count", "kinds"), [([], 1, []), ([1, 0], 0, []), ([1, 0], 1, ["lowest", "luck"])]
)
def test_what_cannot_be_planned_is_refused(ranked, count, kinds) -> None:
    with pytest.raises(ValueError, match=rf"{count} of {len(ranked)} layers with the controls"):
        variants(ranked, count, kinds, draws=1, seed=0)


def test_agreement_with_training_by_hand() -> None:
    readings = {"right": [3.0, 2.0, 1.0], "wrong": [1.0, 2.0, 3.0], "flat": [1.0, 1.0, 1.0]}
    layers = {"a": [0, 1], "b": [0, 2], "c": [1, 2]}  # means of `right`: 2.5, 2, 1.5
    found = agreement_with_training(readings, layers, {"a": 0.3, "b": 0.2, "c": -0.1})
    assert found == {"right": pytest.approx(1.0), "wrong": pytest.approx(-1.0), "flat": None}
    assert agreement_with_training(readings, {"a": [0], "b": [1]}, {"a": 1.0, "b": 2.0})["right"] is None
