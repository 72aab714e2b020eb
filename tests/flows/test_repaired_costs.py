"""What choices cost after a repair: measured once for equal choices, kept, or left out with the reason."""

import json
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SETTINGS = {
    "collect.tokens": 256,
    "collect.window": 32,
    "score.compare": "[last_n, random]",
    "score.name": "last_n",
    "score.random_draws": 1,
    "score.cost_tokens": 64,
    "score.repair_tokens": 128,
    "prune.ratio": 0.34,
    "evaluate.window": 64,
}


@pytest.fixture
def scored(checkpoint, prefect_harness, tmp_path):
    """A function that runs the stage with changed settings, and returns its record and its log."""
    from avss_core.files.writing import write_json
    from avss_core.settings.reading import load_params
    from flows.running.workspace import Workspace
    from flows.score import score

    workspace = Workspace(tmp_path / "workspace")
    lines = [f"Line {i} says that {i * i} is the square of {i}." for i in range(60)]
    write_json(workspace.prepared / "text/calibration.json", lines)
    write_json(workspace.prepared / "manifest.json", {"origin": {"text": "path"}})
    write_json(workspace.statistics, {})
    workspace.dense.symlink_to(checkpoint, target_is_directory=True)

    def scored(**changes):
        settings = {**SETTINGS, **changes}
        params = load_params(ROOT / "params.yaml", [f"{key}={value}" for key, value in settings.items()])
        log = score(params, workspace.root)
        return json.loads(workspace.scores.read_text()), log

    return scored


@pytest.fixture
def calls(monkeypatch):
    """The layers of each choice that was repaired in the test."""
    from avss_core.jobs.removal import repaired_costs

    made, repaired_without = [], repaired_costs.repaired_without

    def watched(model, removed, *rest, **options):
        made.append(removed)
        return repaired_without(model, removed, *rest, **options)

    monkeypatch.setattr(repaired_costs, "repaired_without", watched)
    return made


def test_each_choice_has_its_cost_after_repair_and_a_second_run_measures_none_anew(scored, calls):
    record, _ = scored()
    readings = record["readings"]
    assert record["after_repair"]["tokens"] == 128
    assert record["after_repair"]["left_out"] == ""
    assert record["after_repair"]["choices"] == len(calls) == 2
    for reading in readings.values():
        assert reading["repaired"]["tokens"] == record["dense"]["tokens"]
        assert reading["repaired"]["nll"] != reading["cost"]["nll"]
    assert readings["last_n"]["repaired"]["over_chosen"]["value"] == 0
    assert readings["random_0"]["repaired"]["over_chosen"]["value"] == pytest.approx(
        readings["random_0"]["repaired"]["nll"] - readings["last_n"]["repaired"]["nll"], abs=1e-6
    )
    assert scored()[0] == record
    assert len(calls) == 2


def test_no_tokens_leave_it_out(scored, calls):
    record, _ = scored(**{"score.repair_tokens": 0})
    assert calls == []
    assert "after_repair" not in record
    assert all("repaired" not in reading for reading in record["readings"].values())


def test_a_model_that_cannot_be_repaired_is_scored_all_the_same(scored, monkeypatch):
    from avss_core.jobs.removal import repaired_costs
    from avss_core.surgery.repair.outlets import UnrepairableError

    def refused(*_rest, **_options):
        raise UnrepairableError("cannot repair a planted model")

    monkeypatch.setattr(repaired_costs, "repaired_without", refused)
    record, _ = scored(**{"score.repair_tokens": 96})
    assert record["after_repair"]["left_out"] == "cannot repair a planted model"
    assert record["after_repair"]["choices"] == 0
    assert all("repaired" not in reading for reading in record["readings"].values())


def test_one_token_is_refused():
    from avss_core.settings.reading import load_params

    with pytest.raises(ValueError, match="nothing can be fitted to one token"):
        load_params(ROOT / "params.yaml", ["score.repair_tokens=1"])


def test_greedy_removal_after_repair_takes_what_costs_least_then_and_goes_on_after_a_stop(scored, calls):
    record, _ = scored(**{"score.name": "greedy_repaired", "score.compare": "[last_n]"})
    first, second = record["removed"], record["readings"]["greedy_repaired"]["scores"]
    tried = [removed for removed in calls if removed not in (first, record["readings"]["last_n"]["removed"])]
    # Six layers alone, then the five others on top of the cheapest of them.
    assert [removed for removed in tried if len(removed) == 1] == [[layer] for layer in range(6)]
    taken = second.index(1.0)
    assert all(taken in removed for removed in calls if len(removed) == 2 and removed != [4, 5])
    assert sorted(first) == sorted([taken, second.index(2.0)])
    made = len(calls)
    assert scored(**{"score.name": "greedy_repaired", "score.compare": "[last_n]"})[0] == record
    assert len(calls) == made


def test_greedy_removal_after_repair_needs_tokens_to_refit_on(scored):
    with pytest.raises(
        ValueError, match=r"greedy_repaired needs tokens to refit on: raise score\.repair_tokens"
    ):
        scored(**{"score.name": "greedy_repaired", "score.repair_tokens": 0})


SHORT = {"score.traversal_window": 32, "score.traversal_context": 16}


def test_the_cheapest_choice_after_repair_prunes_and_a_random_one_never(scored):
    record, _ = scored(**{"score.name": "cheapest", "score.compare": "[random, last_n, traversal]", **SHORT})
    costs = {name: reading["repaired"]["nll"] for name, reading in record["readings"].items()}
    sensible = {name: cost for name, cost in costs.items() if not name.startswith("random")}
    assert len(set(sensible.values())) == 2
    assert record["chosen"] == min(sensible, key=sensible.get)
    assert record["removed"] == record["readings"][record["chosen"]]["removed"]


def test_without_a_repair_the_cheapest_is_the_one_before_it(scored):
    record, _ = scored(
        **{
            "score.name": "cheapest",
            "score.compare": "[last_n, traversal]",
            "score.repair_tokens": 0,
            **SHORT,
        }
    )
    costs = {name: reading["cost"]["nll"] for name, reading in record["readings"].items()}
    assert record["chosen"] == min(costs, key=costs.get)


@pytest.mark.parametrize(
    ("compare", "message"),
    [("[random]", "names random alone"), ("[]", "the cheapest of no score is asked for")],
)
def test_the_cheapest_of_nothing_is_refused(scored, compare, message):
    with pytest.raises(ValueError, match=message):
        scored(**{"score.name": "cheapest", "score.compare": compare})
