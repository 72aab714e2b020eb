import pytest

from avss_core.files.writing import write_json
from avss_core.training.mitigation.controls import CONTROLS
from tasks.training.controls import compare_trainings, discarded, plan_trainings


@pytest.fixture
def pruned(tiny, tmp_path):
    """A checkpoint whose four layers were 0, 2, 3 and 5 of a dense model."""
    tiny("llama", layers=4).config.save_pretrained(tmp_path / "pruned")
    write_json(tmp_path / "pruned" / "certificate.json", {"layer_map": [0, 2, 3, 5]})
    return tmp_path / "pruned"


def test_layers_are_numbered_as_in_the_checkpoint_and_lost_ones_passed_over(pruned):
    plans = plan_trainings.fn(pruned, [4, 5, 1, 2, 0, 3], layers=2, controls=list(CONTROLS), draws=1, seed=0)
    assert plans["mitigated"] == {"layers": [1, 3], "like": [1, 3], "settings": {}}
    assert plans["cross_entropy"] == plans["mitigated"] | {
        "settings": {
            "cross_entropy": 1.0,
            "alpha": 0.0,
            "gamma": 0.0,
            "brier": 0.0,
            "anchor": 0.0,
            "known": 1.0,
        }
    }
    assert plans["lowest"]["layers"] == [0, 2]
    assert plans["all"] == {"layers": [0, 1, 2, 3], "like": [1, 3], "settings": {}}
    assert len(plans["random_1"]["layers"]) == 2


def test_a_checkpoint_without_any_of_the_layers_is_refused(pruned):
    with pytest.raises(ValueError, match=r"none of the layers \[4, 1\] of the dense model is left"):
        plan_trainings.fn(pruned, [4, 1], layers=2, controls=[], draws=1, seed=0)


def test_a_control_s_checkpoint_is_gone_also_after_an_error(tmp_path):
    def measure() -> None:
        with discarded(tmp_path / "control") as folder:
            folder.mkdir()
            (folder / "weights").touch()
            raise ValueError("stop")

    with pytest.raises(ValueError, match="stop"):
        measure()
    assert not (tmp_path / "control").exists()


def answered(*correct: int) -> dict:
    rows = [
        {"id": f"q{i}", "confidence": 0.5, "correct": bool(right), "label": i % 2}
        for i, right in enumerate(correct)
    ]
    text = {"window_means": [3.0 - sum(correct) / 4] * 2}
    return {"sets": {"nq": {"answers": rows}}, "sentiment": {"answers": rows}, "text": text}


def trained(layers: list[int], best: float, *correct: int) -> dict:
    return {
        "training": {"layers": layers, "dense_layers": layers, "best_loss": best},
        "figures": {"of": layers},
        "answers": answered(*correct),
        "divergence": {"tokens": 9, "window_means": [0.1, 0.3]},
    }


def test_each_training_is_compared_with_the_base_and_the_mitigation_with_the_mean_of_a_control():
    found = compare_trainings.fn(
        answered(1, 0, 0, 0),
        {
            "mitigated": trained([0, 1], 1.0, 1, 1, 1, 0),
            "cross_entropy": trained([0, 1], 9.0, 1, 1, 0, 0),
            "random_1": trained([1, 2], 2.0, 1, 0, 0, 0),
            "random_2": trained([2, 3], 3.0, 1, 1, 0, 0),
            "all": trained([0, 1, 2, 3], 0.5, 1, 1, 1, 1),
        },
        {"eavss": {"values": [4.0, 3.0, 2.0, 1.0]}},
        dense=answered(1, 1, 0, 0),
        base="pruned",
        seed=0,
    )
    assert found["mitigated_against_base"]["nq"]["accuracy"]["value"] == pytest.approx(0.5)
    assert found["divergence"]["value"] == pytest.approx(0.2)
    # What is kept is kept of the dense model, whatever was trained: 3 right for 2, a loss of 2.25 for 2.5.
    assert found["base"] == "pruned"
    kept = found["retention"]
    assert kept["classification"]["sentiment"]["retention"]["value"] == pytest.approx(1.5)
    assert kept["generation"]["sets"]["nq"]["retention"]["value"] == pytest.approx(1.5)
    assert kept["language_modelling"]["nll_retention"]["value"] == pytest.approx(2.5 / 2.25)
    assert list(found["controls"]) == ["cross_entropy", "random_1", "random_2", "all"]
    assert found["controls"]["all"]["against_base"]["nq"]["accuracy"]["value"] == pytest.approx(0.75)
    against = {name: sets["nq"]["accuracy"]["value"] for name, sets in found["against_controls"].items()}
    assert against == pytest.approx({"cross_entropy": 0.25, "random": 0.375, "all": -0.25})
    # Cross entropy has another loss, and all layers are more: those two say nothing of the layers' order.
    assert found["localization_against_training"] == {
        "trainings": ["mitigated", "random_1", "random_2"],
        "tau": {"eavss": pytest.approx(1.0)},
    }


def test_without_controls_there_is_nothing_to_compare_with():
    found = compare_trainings.fn(
        answered(1, 0), {"mitigated": trained([1], 1.0, 1, 1)}, {"eavss": {"values": [1.0, 2.0]}},
        dense=answered(1, 0), base="dense", seed=0,
    )  # fmt: skip
    assert found["controls"] == found["against_controls"] == {}
    assert found["localization_against_training"]["tau"] == {"eavss": None}
