"""Tasks of the harness on a tiny model: the harness's own figures, kept, and used again only for the same."""

import json
import math
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

pytest.importorskip("lm_eval", reason="the extra lm-eval is not installed")

TASKS = Path(__file__).parent / "own_tasks"
CHOICE, TEXT = "avss_test_choice", "avss_test_text"

pytestmark = pytest.mark.filterwarnings("ignore")  # of the harness and what it imports


@pytest.fixture(scope="module")
def asking():
    from avss_core.jobs.standard_tasks.task_index import known_tasks
    from avss_core.jobs.standard_tasks.task_runs import Asking

    return Asking(
        manager=known_tasks([CHOICE, TEXT], TASKS),
        include=TASKS,
        limit=None,
        batch_size=4,
        chat=False,
        dtype="float32",
        device="cpu",
    )


@pytest.fixture(scope="module")
def models(tiny, tokenizer, tmp_path_factory):
    """Two folders with models that differ in their layers."""
    folder = tmp_path_factory.mktemp("models")
    for name, layers in (("dense", 4), ("pruned", 2)):
        tiny("llama", layers).save_pretrained(folder / name)
        tokenizer.save_pretrained(folder / name)
    return folder


@pytest.fixture(scope="module")
def runs(asking, models, tmp_path_factory):
    """The runs of both tasks on both models, by the name of the model."""
    from avss_core.jobs.standard_tasks.task_runs import run_task

    out = tmp_path_factory.mktemp("out")
    return {
        name: [run_task(task, models / name, out / name, asking, name) for task in (CHOICE, TEXT)]
        for name in ("dense", "pruned")
    }


@pytest.fixture(scope="module")
def measured(runs):
    from avss_core.jobs.standard_tasks.task_summaries import measured_tasks

    return {name: measured_tasks(each) for name, each in runs.items()}


def test_figures_are_those_of_lm_eval_called_by_hand(asking, models, runs):
    from lm_eval import simple_evaluate

    by_hand = simple_evaluate(
        model="hf",
        model_args={"pretrained": str(models / "pruned"), "dtype": "float32"},
        tasks=[CHOICE, TEXT],
        batch_size=4,
        device="cpu",
        bootstrap_iters=0,
        task_manager=asking.manager,
    )
    for task, run in zip((CHOICE, TEXT), runs["pruned"], strict=True):
        ours, theirs = run.results["results"][task], by_hand["results"][task]
        assert len([key for key in theirs if key.endswith(",none")]) >= 4
        for key, value in theirs.items():
            if isinstance(value, float):
                assert ours[key] == pytest.approx(value, rel=1e-6), key
        for own, other in zip(run.samples[task], by_hand["samples"][task], strict=True):
            assert own["doc_hash"] == other["doc_hash"]
            assert own["prompt_hash"] == other["prompt_hash"]


def test_each_figure_has_an_interval_over_its_questions(measured):
    from avss_core.jobs.standard_tasks.task_summaries import task_figures

    figures = task_figures(measured["dense"], seed=0)
    assert {name: task["n"] for name, task in figures.items()} == {CHOICE: 12, TEXT: 8}
    assert set(figures[CHOICE]["figures"]) == {"acc", "acc_norm"}
    assert set(figures[TEXT]["figures"]) == {"word_perplexity", "byte_perplexity", "bits_per_byte"}
    for task in figures.values():
        for figure in task["figures"].values():
            assert figure["low"] <= figure["value"] <= figure["high"]
            assert figure["low"] < figure["high"]
    assert figures[CHOICE]["figures"]["acc"]["chance"] == pytest.approx(1 / 3)
    assert figures[TEXT]["figures"]["bits_per_byte"]["chance"] is None
    assert figures[TEXT]["figures"]["bits_per_byte"]["higher_is_better"] is False


def test_a_model_is_compared_with_another_question_by_question(measured, runs):
    from avss_core.jobs.standard_tasks.task_summaries import compare_tasks

    found = compare_tasks(measured["dense"], measured["pruned"], seed=0)
    right = [[row["acc"] for row in runs[name][0].samples[CHOICE]] for name in ("dense", "pruned")]
    change, kept = found[CHOICE]["change"]["acc"], found[CHOICE]["kept"]["acc"]
    assert change["value"] == pytest.approx((sum(right[1]) - sum(right[0])) / 12)
    assert change["low"] <= change["value"] <= change["high"]
    if sum(right[0]):
        assert kept["retention"]["value"] == pytest.approx(sum(right[1]) / sum(right[0]))
    values = [runs[name][1].results["results"][TEXT]["word_perplexity,none"] for name in ("dense", "pruned")]
    kept = found[TEXT]["kept"]["word_perplexity"]["retention"]
    assert kept["value"] == pytest.approx(values[0] / values[1])
    same = compare_tasks(measured["dense"], measured["dense"], seed=0)
    assert same[TEXT]["change"]["bits_per_byte"] == {"value": 0.0, "low": 0.0, "high": 0.0}
    assert same[TEXT]["kept"]["bits_per_byte"]["retention"] == {"value": 1.0, "low": 1.0, "high": 1.0}


def test_every_answer_lies_in_the_folder_and_a_finished_run_is_not_repeated(
    asking, models, tmp_path, monkeypatch
):
    from avss_core.jobs.standard_tasks import task_runs

    asked = replace(asking, limit=3)
    first = task_runs.run_task(CHOICE, models / "dense", tmp_path, asked, "dense")
    rows = (tmp_path / CHOICE / f"samples_{CHOICE}.jsonl").read_text(encoding="utf-8").splitlines()
    assert [json.loads(row)["doc"]["question"] for row in rows] == [
        "What is red?", "What is blue?", "What is white?",
    ]  # fmt: skip
    results = json.loads((tmp_path / CHOICE / "results.json").read_text(encoding="utf-8"))
    assert results["n-samples"][CHOICE] == {"original": 12, "effective": 3}
    assert results["higher_is_better"][CHOICE] == {"acc": True, "acc_norm": True}
    asking_again = []

    def again(*arguments, **settings):
        asking_again.append(arguments)
        return real(*arguments, **settings)

    real = task_runs.evaluate
    monkeypatch.setattr(task_runs, "evaluate", again)
    assert task_runs.run_task(CHOICE, models / "dense", tmp_path, asked, "dense") == first
    assert not asking_again
    # Another model, another number of questions, another file of tasks, and a file that was changed.
    task_runs.run_task(CHOICE, models / "pruned", tmp_path, asked, "dense")
    assert len(asking_again) == 1
    task_runs.run_task(CHOICE, models / "pruned", tmp_path, replace(asking, limit=2), "dense")
    assert len(asking_again) == 2
    own = tmp_path / "own"
    shutil.copytree(TASKS, own)
    (own / "more.txt").write_text("a note", encoding="utf-8")
    last = replace(asking, limit=2, include=own)
    task_runs.run_task(CHOICE, models / "pruned", tmp_path, last, "dense")
    assert len(asking_again) == 3
    log = tmp_path / CHOICE / f"samples_{CHOICE}.jsonl"
    log.write_text(log.read_text(encoding="utf-8").replace("red", "rad"), encoding="utf-8")
    task_runs.run_task(CHOICE, models / "pruned", tmp_path, last, "dense")
    assert len(asking_again) == 4
    assert "What is red?" in log.read_text(encoding="utf-8")


def test_a_group_is_what_its_tasks_add_up_to(asking, models, tmp_path):
    from lm_eval.tasks import TaskManager

    from avss_core.jobs.standard_tasks.task_runs import run_task
    from avss_core.jobs.standard_tasks.task_summaries import measured_tasks, task_figures

    own = tmp_path / "own"
    shutil.copytree(TASKS, own)
    task = (own / f"{CHOICE}.yaml").read_text(encoding="utf-8")
    (own / "second.yaml").write_text(task.replace(CHOICE, "avss_test_second"), encoding="utf-8")
    (own / "both.yaml").write_text(
        f"group: avss_test_both\ntask: [{CHOICE}, avss_test_second]\n"
        "aggregate_metric_list:\n  - metric: acc\n    aggregation: mean\n    weight_by_size: true\n",
        encoding="utf-8",
    )
    manager = TaskManager(include_path=str(own), include_defaults=False)
    asked = replace(asking, manager=manager, include=own)
    run = run_task("avss_test_both", models / "dense", tmp_path / "out", asked, "dense")
    figures = task_figures(measured_tasks([run]), seed=0)
    assert set(figures) == {"avss_test_both", CHOICE, "avss_test_second"}
    both, one = figures["avss_test_both"]["figures"]["acc"], figures[CHOICE]["figures"]["acc"]
    assert figures["avss_test_both"]["n"] == 24
    assert both["value"] == one["value"]
    assert both["high"] - both["low"] < one["high"] - one["low"]
    assert not math.isclose(both["low"], both["value"])


def test_answers_that_are_written_are_figures_by_filter(asking, models, tmp_path):
    from avss_core.jobs.standard_tasks.task_index import known_tasks
    from avss_core.jobs.standard_tasks.task_runs import run_task
    from avss_core.jobs.standard_tasks.task_summaries import measured_tasks

    own = tmp_path / "own"
    shutil.copytree(TASKS, own)
    (own / "written.yaml").write_text(
        "task: avss_test_written\ncustom_dataset: !function local_rows.choice\ntest_split: test\n"
        "output_type: generate_until\ndoc_to_text: '{{question}}'\ndoc_to_target: '{{choices[label]}}'\n"
        "generation_kwargs: {until: ['\\n'], max_gen_toks: 2}\n"
        "filter_list:\n  - {name: first, filter: [{function: take_first}]}\n"
        "  - {name: lower, filter: [{function: lowercase}, {function: take_first}]}\n"
        "metric_list:\n  - {metric: exact_match, aggregation: mean, higher_is_better: true}\n",
        encoding="utf-8",
    )
    asked = replace(asking, manager=known_tasks(["avss_test_written"], own), include=own, limit=3)
    run = run_task("avss_test_written", models / "dense", tmp_path / "out", asked, "dense")
    task = measured_tasks([run])["avss_test_written"]
    assert set(task.figures) == {"exact_match,first", "exact_match,lower"}
    assert task.n == 3
    assert len(run.samples["avss_test_written"]) == 6
    for figure in task.figures.values():
        assert (figure.value, figure.chance, len(figure.questions)) == (0.0, None, 3)
        assert figure.column is not None


def test_a_task_that_nobody_knows_is_named_with_those_that_are_near(monkeypatch):
    from avss_core.jobs.standard_tasks import task_index

    # The harness's own index takes longer to read than all of these tests.
    real = task_index.TaskManager
    monkeypatch.setattr(
        task_index,
        "TaskManager",
        lambda include_path, include_defaults: real(include_path=include_path, include_defaults=False),
    )
    task_index._manager.cache_clear()
    with pytest.raises(LookupError, match=r"no task 'avss_test_choise'.*did you mean avss_test_choice"):
        task_index.known_tasks(["avss_test_choise"], TASKS)
    task_index._manager.cache_clear()
