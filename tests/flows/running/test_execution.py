"""Engines: the same numbers and keys from this process, two of Dask and two of Ray; what fails says so."""

import importlib.util
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import pytest

ROOT = Path(__file__).resolve().parents[3]

QUICK = {
    "data.sets": "[nq, sciq]",
    "collect.parts": 3,
    "collect.window": 32,
    "collect.sites": "[output, update, mlp]",
    "score.traversal_tokens": 64,
    "score.traversal_window": 16,
    "score.traversal_context": 8,
    "evaluate.shots": 1,
    "evaluate.limit": 6,
    "evaluate.shard": 4,
    "evaluate.layer_questions": 2,
    "evaluate.judge": "fitted_lexical",
    "evaluate.max_new_tokens": 4,
    "evaluate.tokens": 64,
    "evaluate.window": 32,
}

ENGINES = [
    pytest.param(
        name,
        marks=pytest.mark.skipif(
            importlib.util.find_spec(f"prefect_{name}") is None, reason=f"pip install -e '.[{name}]'"
        ),
    )
    for name in ("dask", "ray")
]


@pytest.fixture(scope="module")
def settings(tiny, tokenizer, tmp_path_factory):
    """Make parameters with changes."""
    from avss_core.settings.reading import load_params

    folder = tmp_path_factory.mktemp("model")
    tiny("llama", layers=4, max_position_embeddings=1024).save_pretrained(folder)
    tokenizer.save_pretrained(folder)

    def made(engine="threads", workers=2, **changes):
        own = {"model.name": folder, "execution.engine": engine, "execution.workers": workers}
        values = QUICK | own | {key.replace("__", "."): value for key, value in changes.items()}
        return load_params(ROOT / "params.yaml", [f"{key}={value}" for key, value in values.items()])

    return made


@pytest.fixture(scope="module")
def place(settings, prefect_harness, tmp_path_factory):
    from flows.prepare import prepare
    from flows.running.workspace import Workspace

    root = tmp_path_factory.mktemp("workspace")
    prepare(settings(), root)
    return Workspace(root)


@pytest.fixture
def engines(monkeypatch, tmp_path, prefect_harness):
    """One torch thread in every process, a result storage of its own, and no process left behind."""
    from prefect.settings import PREFECT_LOCAL_STORAGE_PATH, temporary_settings

    from flows.running.execution import stop

    monkeypatch.setenv("OMP_NUM_THREADS", "1")

    def storage(name):
        return temporary_settings({PREFECT_LOCAL_STORAGE_PATH: tmp_path / name})

    yield SimpleNamespace(storage=storage, path=tmp_path)
    stop()


def everything(params, place):
    """Return what every fan-out of the stages finds, in one flow."""
    from prefect import flow

    from avss_core.jobs.evaluation.checkpoint_evaluation import evaluation_jobs, layer_jobs
    from avss_core.jobs.removals import measure_removals
    from avss_core.jobs.text_collection import collect_texts
    from flows.running.execution import run, run_in

    text = place.prepared / "text" / "calibration.json"

    @flow(name="everything", persist_result=False)
    def all_of_it():
        jobs = {
            "dense": evaluation_jobs(params, place.prepared, place.dense),
            "layers": layer_jobs(params, place.prepared, place.dense),
        }
        return {
            "evaluation": run(params, jobs, "evaluation"),
            "statistics": collect_texts(params, place.dense, {"text": (text, 300)}, run_in(params)),
            "removals": measure_removals(params, place.dense, text, ["traversal"], run_in(params)),
        }

    return all_of_it()


@pytest.fixture(scope="module")
def expected(settings, place, tmp_path_factory):
    """What threads find, and where they leave it."""
    from prefect.settings import PREFECT_LOCAL_STORAGE_PATH, temporary_settings

    storage = tmp_path_factory.mktemp("storage")
    with temporary_settings({PREFECT_LOCAL_STORAGE_PATH: storage}):
        return SimpleNamespace(figures=everything(settings(), place), storage=storage)


@pytest.mark.slow
@pytest.mark.parametrize("engine", ENGINES)
def test_two_processes_find_the_bits_that_threads_find_under_the_same_keys(
    engine, engines, settings, place, expected
):
    with engines.storage(engine):
        assert everything(settings(engine), place) == expected.figures
    keys = [{path.name for path in folder.iterdir()} for folder in (engines.path / engine, expected.storage)]
    assert keys[0] == keys[1]


@pytest.mark.slow
@pytest.mark.parametrize("engine", ENGINES[:1])
def test_every_process_loads_a_model_once_and_none_where_all_is_known(
    engine, engines, settings, place, expected
):
    from distributed import Client

    from avss_core.caching.loaded_model import _load
    from flows.running.execution import task_runner

    params = settings(engine)

    def loads():
        with Client(task_runner(params).address, set_as_default=False) as client:
            return list(client.run(lambda: _load.cache_info().misses).values())

    from prefect.settings import PREFECT_LOCAL_STORAGE_PATH, temporary_settings

    with temporary_settings({PREFECT_LOCAL_STORAGE_PATH: expected.storage}):
        everything(params, place)
    assert loads() == [0, 0]
    with engines.storage("new"):
        everything(params, place)
    assert loads() == [1, 1]


@pytest.mark.slow
@pytest.mark.parametrize("engine", ENGINES)
def test_a_killed_process_is_replaced_and_its_unit_runs_again(engine, engines, settings, monkeypatch):
    module = engines.path / "deadly.py"
    module.write_text(
        "import os, signal\n"
        "from pathlib import Path\n"
        "from tasks.cache.units import unit\n"
        "@unit('deadly')\n"
        "def strike(marker: str, number: int):\n"
        "    if number == 1 and not Path(marker).exists():\n"
        "        Path(marker).touch()\n"
        "        os.kill(os.getpid(), signal.SIGKILL)\n"
        "    return number\n"
    )
    monkeypatch.syspath_prepend(str(engines.path))
    deadly = importlib.import_module("deadly")
    from flows.running.execution import run

    marker = engines.path / "struck"
    jobs = [partial(deadly.strike, str(marker), number) for number in range(4)]
    with engines.storage(engine):
        assert run(settings(engine), jobs, "deadly") == [0, 1, 2, 3]
    assert marker.exists()


@pytest.mark.slow
@pytest.mark.parametrize("engine", ENGINES)
def test_an_error_in_another_process_is_the_error_here(engine, engines, settings, place):
    from avss_core.jobs.text_collection import collect_texts
    from flows.running.execution import run_in

    params = settings(engine, collect__window=2048)
    with engines.storage(engine), pytest.raises(ValueError, match="does not fit the model's 1024 positions"):
        collect_texts(
            params,
            place.dense,
            {"text": (place.prepared / "text" / "calibration.json", 5000)},
            run_in(params),
        )


@pytest.mark.parametrize("engine", ENGINES)
def test_an_address_where_nobody_answers_is_named(engine, engines, settings, monkeypatch):
    from flows.running import execution

    monkeypatch.setattr(execution, "CONNECT_SECONDS", 1)
    params = settings(engine, execution__address="127.0.0.1:9")
    with pytest.raises(OSError, match=rf"'127\.0\.0\.1:9': no {engine} cluster answers there"):
        execution.run(params, [partial(int), partial(int)], "nothing")


def test_an_engine_that_is_not_installed_says_what_to_install(settings, monkeypatch):
    from avss_core.settings import input_sections

    monkeypatch.setattr(input_sections.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(
        ValueError, match=r"engine dask is not installed; pip install -c constraints.txt -e '\.\[dask\]'"
    ):
        settings("dask")


def test_an_engine_makes_no_other_experiment(settings):
    plain, other = settings(), settings(workers=7)
    assert plain.decisive() == other.decisive()
    assert plain.flat() != other.flat()
    assert plain.decisive().keys() == {key for key in plain.flat() if not key.startswith("execution.")}


def test_threads_have_no_address(settings):
    with pytest.raises(ValueError, match="threads have no address"):
        settings(execution__address="127.0.0.1:8786")


def test_results_stand_where_their_units_stood(settings):
    from flows.running.execution import run

    jobs = {"a": [partial(int, "1"), partial(int, "2")], "b": {"c": partial(int, "3"), "d": []}}
    assert run(settings(), jobs, "numbers") == {"a": [1, 2], "b": {"c": 3, "d": []}}
    assert run(settings(), [], "nothing") == []


def test_threads_run_one_unit_after_another_but_for_those_that_may_share_a_model(settings):
    from flows.running.execution import task_runner

    assert task_runner(settings(workers=4)) is None
    assert task_runner(settings(workers=1), threads=True) is None
    assert task_runner(settings(workers=4), threads=True) is not None
    assert task_runner(settings(workers=4, model__device="spread"), threads=True) is None


def test_questions_in_shards_have_the_answers_of_the_whole_set(settings, place, expected):
    from avss_core.jobs.evaluation.checkpoint_evaluation import evaluation_jobs, joined

    jobs = evaluation_jobs(settings(evaluate__shard=100), place.prepared, place.dense)
    assert [len(jobs["sets"]["nq"]), len(jobs["sentiment"])] == [1, 1]
    whole = jobs["sets"]["nq"][0].func.fn(*jobs["sets"]["nq"][0].args, **jobs["sets"]["nq"][0].keywords)
    dense = expected.figures["evaluation"]["dense"]
    assert [len(shard["answers"]) for shard in dense["sets"]["nq"]] == [4, 2]
    record = joined(dense)
    joined = record["sets"]["nq"]
    assert joined.keys() == whole.keys()
    assert joined["dropped_demonstrations"] == whole["dropped_demonstrations"]
    for own, other in zip(joined["answers"], whole["answers"], strict=True):
        close = {"confidence", "gold_nll", "preference_margin"}
        assert {k: v for k, v in own.items() if k not in close} == {
            k: v for k, v in other.items() if k not in close
        }
        assert all(own[key] == pytest.approx(other[key], abs=1e-5) for key in close)
