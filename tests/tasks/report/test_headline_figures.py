"""The dozen figures of a run: what they are of, and that they are those of its summary."""

import pytest

from tasks.report.headline_figures import FIGURES, headline_figures, headline_table


@pytest.fixture
def summary():
    kept = {"generation": 0.5, "preference": 0.9, "gold_loss": 0.8, "sentiment": 0.75, "nll": 0.7}
    return {
        "kept": {"pruned": kept, "repaired": kept | {"generation": 0.6}, "mitigated": {"generation": 0.9}},
        "layers": {"dense": 30, "pruned": 23},
        "parameters": {"dense": 100, "pruned": 80, "repaired": 80},
        "text": {"dense": 20.0, "pruned": 60.0, "repaired": 40.0},
    }


def test_the_figures_are_those_of_the_last_model(summary):
    figures = headline_figures(summary)
    assert list(figures) == list(FIGURES)
    assert (figures["layers_removed"], figures["parameters_kept"]) == (7, 0.8)
    assert (figures["kept_answers"], figures["pruned_kept_answers"]) == (0.6, 0.5)
    assert (figures["perplexity"], figures["dense_perplexity"]) == (40.0, 20.0)
    summary["kept"]["healed"] = {"generation": 0.65}
    summary["parameters"]["healed"], summary["text"]["healed"] = 80, 30.0
    assert (headline_figures(summary)["kept_answers"], headline_figures(summary)["perplexity"]) == (
        0.65,
        30.0,
    )


def test_what_has_no_value_is_left_out(summary):
    del summary["kept"]["repaired"]["generation"], summary["kept"]["mitigated"]
    assert not {"kept_answers", "mitigated_kept_answers"} & set(headline_figures(summary))


def test_the_table_names_each_figure(summary):
    lines = headline_table(headline_figures(summary)).splitlines()
    assert lines[:3] == ["| figure | value |", "| --- | --- |", "| layers removed | 7 |"]
    assert len(lines) == 2 + len(FIGURES)
