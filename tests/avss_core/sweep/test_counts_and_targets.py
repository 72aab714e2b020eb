"""Numbers of layers, the knee, and the answers to targets, on numbers written by hand."""

import math

import pytest

from avss_core.sweep.counts import counts_of, usual_counts
from avss_core.sweep.knee import knee
from avss_core.sweep.targets import Sizes, Targets, answer, count_for_size


@pytest.mark.parametrize("layers", [2, 3, 12, 30, 61, 128])
def test_usual_counts_are_ten_at_most_from_one_to_half(layers):
    counts = usual_counts(layers)
    assert counts == sorted(set(counts))
    assert len(counts) <= 10
    assert (counts[0], counts[-1]) == (1, max(1, layers // 2))


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ([], "no number of layers to remove is named"),
        ([0], "cannot remove 0 of 6 layers"),
        ([6], "cannot remove 6 of 6 layers"),
        ([1.5], "cannot remove 1.5 of 6 layers"),
        ([-2], "cannot remove -2 of 6 layers"),
        ([math.nan], "cannot remove nan of 6 layers"),
        ([math.inf], "cannot remove inf of 6 layers"),
    ],
)
def test_a_number_that_no_layers_have_is_refused_with_the_range(asked, said):
    with pytest.raises(ValueError, match=said):
        counts_of(6, asked)


def test_protected_layers_narrow_the_range():
    assert counts_of(6, [3, 0.5], 4) == [3]
    with pytest.raises(ValueError, match="whole number from 1 to 4"):
        counts_of(6, [5], 4)


@pytest.mark.parametrize("counts", [lambda: usual_counts(1), lambda: counts_of(1, [1])])
def test_one_layer_is_too_few(counts):
    with pytest.raises(ValueError, match="the model has 1 layer"):
        counts()


@pytest.mark.parametrize(
    ("losses", "place"),
    [
        (
            [0, 0.1, 0.2, 0.9, 2],
            2,
        ),  # below the line by .15, .3, and .3 / by hand: 0.25-0.05, 0.5-0.1, 0.75-0.45
        ([0, 1, 2, 3, 4], None),  # on the line
        ([0, 3, 3.5, 3.9, 4], None),  # above it
        ([4, 3, 2, 1, 0], None),  # it falls
        ([3, 3, 3, 3, 3], None),
    ],
)
def test_the_knee_is_where_the_curve_lies_furthest_below_the_line(losses, place):
    assert knee([0, 2, 4, 6, 8], losses) == place


def test_two_points_have_no_knee():
    assert knee([0, 3], [1.0, 2.0]) is None


def point(score, count, model, loss, parameters):
    return {
        "score": score, "removed_layers": count, "removed": list(range(count)), "model": model, "loss": loss,
        "parameters": parameters, "bytes": 4 * parameters,
    }  # fmt: skip


TABLE = [
    point("a", 1, "pruned", 3.2, 90),
    point("a", 2, "pruned", 3.6, 80),
    point("a", 3, "pruned", 5.0, 70),
    point("a", 2, "repaired", 3.4, 80),
    point("a", 3, "repaired", 3.9, 70),
    point("b", 3, "repaired", 3.7, 70),
]


@pytest.mark.parametrize(
    ("targets", "place"),
    [
        (Targets(parameters=90), 0),
        (Targets(parameters=89), 3),  # two layers; repaired is the better of the two
        (Targets(bytes=4 * 70), 5),
        (Targets(loss=3.5), 3),  # the smallest model
        (Targets(loss=3.9), 5),  # three layers by either score; the lower loss
        (Targets(loss=10), 5),
        (Targets(loss=3.2), 0),
        (Targets(parameters=85, loss=3.9), 3),  # the fewest layers that meet both
        (Targets(parameters=85, loss=3.4, bytes=320), 3),
    ],
)
def test_the_answer_is_the_smallest_choice_of_the_table(targets, place):
    assert answer(TABLE, targets) is TABLE[place]


@pytest.mark.parametrize(
    ("targets", "said"),
    [
        (Targets(loss=3.1), r"at most 3\.1; the nearest is a without 1 layers \(0\), pruned: loss 3\.2000"),
        (
            Targets(parameters=69),
            r"small enough; the nearest is b without 3 layers .* loss 3\.7000, 70 param",
        ),
        (Targets(parameters=75, loss=3.5), r"at most 3\.5; the nearest is b without 3 layers"),
    ],
)
def test_where_none_answers_the_nearest_is_named(targets, said):
    with pytest.raises(ValueError, match=said):
        answer(TABLE, targets)


@pytest.mark.parametrize("value", [0, -1.0, math.nan, math.inf])
@pytest.mark.parametrize("field", ["parameters", "bytes", "loss"])
def test_a_target_must_be_a_number_above_zero(field, value):
    with pytest.raises(ValueError, match=f"the target of {field} is {value}"):
        Targets(**{field: value})


def test_layers_go_until_the_size_is_reached():
    sizes = Sizes(100, 400, [10, 20, 30], [40, 80, 120])
    assert count_for_size([1, 0, 2], sizes, Targets(parameters=80)) == 1
    assert count_for_size([1, 0, 2], sizes, Targets(parameters=79)) == 2
    assert count_for_size([1, 0, 2], sizes, Targets(parameters=80, bytes=279)) == 3
    with pytest.raises(ValueError, match="small enough as it is: 100 parameters, 400 bytes"):
        count_for_size([1], sizes, Targets(parameters=100))
    with pytest.raises(ValueError, match="without the 2 layers that may go the model has 70 parameters, 280"):
        count_for_size([1, 0], sizes, Targets(parameters=60))
