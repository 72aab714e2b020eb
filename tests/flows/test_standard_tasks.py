"""Tasks of lm-evaluation-harness in the pipeline: asked of every model of the ladder."""

import json
from importlib.util import find_spec

import pytest

from tests.flows.test_heal import REMOVED, ROOT, _pruned, changed  # noqa: F401  (a fixture)

pytestmark = [
    pytest.mark.skipif(find_spec("lm_eval") is None, reason="the extra lm-eval is not installed"),
    pytest.mark.filterwarnings("ignore"),  # of the harness and what it imports
]

TASKS = ROOT / "tests" / "avss_core" / "jobs" / "standard_tasks" / "own_tasks"
ASKED = (
    "evaluate.tasks=[avss_test_choice]",
    f"evaluate.task_files={TASKS}",
    "evaluate.limit=3",
    "repair.enabled=true",
    "repair.tokens=1000",
)


@pytest.fixture(scope="module")
def place(changed, tmp_path_factory):  # noqa: F811
    """A workspace in which a repaired and healed model was asked a task."""
    from flows.evaluate import evaluate
    from flows.heal import heal
    from flows.prepare import prepare
    from flows.repair import repair

    params, root = (
        changed(*ASKED, "repair.enabled=true", "repair.tokens=1000"),
        tmp_path_factory.mktemp("run"),
    )
    prepare(params, root)
    place = _pruned(root, REMOVED)
    for stage in (repair, evaluate, heal):
        stage(params, root)
    return place


def _record(folder):
    return json.loads((folder / "figures.json").read_text(encoding="utf-8"))["tasks"]


def test_every_model_of_the_ladder_is_asked_the_same_documents(place):
    tasks = _record(place.evaluation) | {"healed": _record(place.healing)}
    assert list(tasks) == ["dense", "pruned", "repaired", "healed"]
    assert {each["figures"]["avss_test_choice"]["n"] for each in tasks.values()} == {3}
    assert tasks["dense"]["against_dense"] is None
    for name, each in tasks.items():
        if name != "dense":
            change = each["against_dense"]["avss_test_choice"]["change"]["acc"]["value"]
            own, dense = (
                one["figures"]["avss_test_choice"]["figures"]["acc"]["value"]
                for one in (each, tasks["dense"])
            )
            assert change == pytest.approx(own - dense)


def test_every_answer_is_kept_beside_the_figures_and_nothing_stays_behind(place):
    logs = [
        *(place.evaluation / "tasks").glob("*/avss_test_choice/samples_avss_test_choice.jsonl"),
        *(place.healing / "tasks").glob("avss_test_choice/samples_avss_test_choice.jsonl"),
    ]
    assert [len(log.read_text(encoding="utf-8").splitlines()) for log in logs] == [3] * 4
    assert not list(place.training.glob("*tasks*"))


def test_the_dense_model_is_not_asked_again_by_the_stage_heal(place, changed, monkeypatch):  # noqa: F811
    from avss_core.jobs.standard_tasks import task_runs
    from flows.heal import heal

    real, asked = task_runs.evaluate, []
    monkeypatch.setattr(
        task_runs, "evaluate", lambda lm, *more, **named: asked.append(lm._label) or real(lm, *more, **named)
    )
    before = _record(place.healing)
    heal(changed(*ASKED), place.root)
    assert asked == ["healed: avss_test_choice"]
    assert _record(place.healing) == before


def test_a_task_that_nobody_knows_stops_the_stage_before_any_question(place, changed, monkeypatch):  # noqa: F811
    import flows.evaluate as stage

    monkeypatch.setattr(stage, "run", lambda *_: pytest.fail("questions were asked"))
    folder = f"evaluate.task_files={TASKS.parent / 'nowhere'}"
    with pytest.raises(
        NotADirectoryError, match="name that of your task files by --include-path or evaluate"
    ):
        stage.evaluate(changed("evaluate.tasks=[avss_test_choice]", folder), place.root)
