from avss_core.metrics.retention import retention_table
from tasks.gate import check_retention, fallen_lines


def _side(right, losses):
    rows = [{"id": str(i), "correct": value, "label": i % 2} for i, value in enumerate(right)]
    return {"sets": {"nq": {"answers": rows}, "sciq": {"answers": [{"id": "x", "correct": False}]}},
            "sentiment": {"answers": rows}, "text": {"window_means": losses}}  # fmt: skip


TABLE = retention_table(_side([True] * 12, [2.0, 2.0]), _side([True] * 9 + [False] * 3, [4.0, 4.0]))


def test_without_a_minimum_nothing_falls():
    assert check_retention.fn({"pruned": TABLE}, None)["fallen"] == {"pruned": []}


def test_what_falls_is_named_with_its_figure_and_what_has_no_figure_does_not_fall():
    found = check_retention.fn({"pruned": TABLE}, 0.7)
    assert [line.partition(" [")[0] for line in fallen_lines(found, "pruned")] == [
        "pruned: language modelling NLL: retention 0.50"
    ]
    assert found["without"]["pruned"] == [
        "sciq accuracy: no retention, since the dense model answers 0 of 1: too few for a share"
    ]
    assert len(fallen_lines(check_retention.fn({"pruned": TABLE}, 0.8), "pruned")) == 3
