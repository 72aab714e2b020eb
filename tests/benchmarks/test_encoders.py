"""Random choices beside the score's are other ones; the picture shows each layer and what would go."""

from xml.etree import ElementTree

import torch

from avss_core.scores.layer_scores import LayerScores
from benchmarks.encoders import distinct_draws, drawn


def test_no_draw_equals_another_one_or_the_choice() -> None:
    draws = distinct_draws(12, 3, [5, 6, 7], 5)
    assert len({tuple(each) for each in draws} | {(5, 6, 7)}) == 6
    assert all(each == sorted(set(each)) and len(each) == 3 for each in draws)
    assert draws == distinct_draws(12, 3, [5, 6, 7], 5)
    assert sorted(distinct_draws(4, 1, [2], 9)) == [[0], [1], [3]]  # there are no more


def test_the_picture_marks_the_layers_that_would_go() -> None:
    scores = {
        kind: LayerScores("avss", torch.tensor([3.0, 1.0, low, 40.0], dtype=torch.float64))
        for kind, low in (("reviews", 0.5), ("questions", 2.0))
    }
    picture = drawn(scores, 0.25)
    assert picture == drawn(scores, 0.25)
    words = [each.text for each in ElementTree.fromstring(picture).iter() if each.tag.endswith("text")]
    assert "reviews (orange: the lowest 25%)" in words
    assert "questions (orange: the lowest 25%)" in words
    mark = 'style="fill: #e69f00; stroke: #e69f00"/>'
    assert (picture.count(mark), drawn(scores, 0.5).count(mark)) == (2, 4)  # one layer and two of each
