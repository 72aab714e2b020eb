"""The stage heal on a tiny model: what it writes, that it repeats, resumes and can be left out."""

import json
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]

QUICK = {
    "data.sets": "[nq, sciq]",
    "collect.tokens": 128,
    "score.cost_tokens": 64,
    "evaluate.shots": 1,
    "evaluate.limit": 4,
    "evaluate.layer_questions": 0,
    "evaluate.judge": "fitted_lexical",
    "evaluate.max_new_tokens": 4,
    "evaluate.tokens": 128,
    "evaluate.window": 64,
    "repair.enabled": "false",
    "heal.tokens": 2000,
    "heal.batch_size": 2,
    "heal.validation_tokens": 400,
    "heal.window": 200,
    "heal.rank": 4,
    "heal.learning_rate": 0.01,
    "heal.validate_every": 2,
}
REMOVED, KEPT = [1, 3, 4], [0, 2, 5]


@pytest.fixture(scope="module")
def changed(tiny, tokenizer, tmp_path_factory, prefect_harness):
    """A function that returns the parameters with changes."""
    from avss_core.settings.reading import load_params

    model = tmp_path_factory.mktemp("model")
    tiny("llama", max_position_embeddings=1024).save_pretrained(model)
    tokenizer.save_pretrained(model)
    changes = [f"model.name={model}", *(f"{key}={value}" for key, value in QUICK.items())]
    return lambda *more: load_params(ROOT / "params.yaml", [*changes, *more])


def _pruned(root, removed):
    from avss_core.jobs.checkpoint_pruning import prune_model
    from flows.running.workspace import Workspace

    place = Workspace(root)
    known = {"model": "tiny", "score": "explicit list"}
    prune_model(
        str(place.dense), removed, dtype="float32", folder=place.pruned, provenance=known, replace=True
    )
    return place


@pytest.fixture(scope="module")
def workspace(changed, tmp_path_factory):
    """A workspace whose pruned model was healed."""
    from flows.evaluate import evaluate
    from flows.heal import heal
    from flows.prepare import prepare

    params, root = changed(), tmp_path_factory.mktemp("workspace")
    prepare(params, root)
    place = _pruned(root, REMOVED)
    evaluate(params, root)
    heal(params, root)
    return place


@pytest.fixture
def beside(workspace, tmp_path):
    """A workspace with the same files of the stages before, and nothing of heal."""
    for path in (workspace.root / "data").iterdir():
        if path.name not in ("healed", "healing", "training"):
            (tmp_path / "data").mkdir(exist_ok=True)
            (tmp_path / "data" / path.name).symlink_to(path)
    return type(workspace)(tmp_path)


def _json(path):
    return json.loads(path.read_text(encoding="utf-8"))


def _files(place):
    folders = (place.healed, place.healing)
    return {path.name: path.read_bytes() for folder in folders for path in sorted(folder.iterdir())}


def test_the_healed_checkpoint_keeps_the_layer_map_and_all_that_was_not_trained(workspace):
    from avss_core.surgery.numbering import layer_map

    certificate = _json(workspace.healed / "certificate.json")
    assert certificate["layer_map"] == layer_map(workspace.healed, 3) == KEPT
    assert all(check["passed"] for check in certificate["checks"])
    trained = certificate["tensors"].keys() - certificate["source_tensors"].keys()
    assert {int(name.split(".")[2]) for name in trained} == {0, 1, 2}
    assert "model.embed_tokens.weight" in certificate["source_tensors"]


def test_the_figures_hold_the_training_and_what_is_kept_before_and_after(workspace):
    healing = _json(workspace.healing / "figures.json")
    evaluated = _json(workspace.evaluation / "figures.json")
    assert healing["enabled"] is True
    assert healing["training"]["layers"] == [0, 1, 2]
    assert healing["training"]["dense_layers"] == KEPT
    losses = [epoch["validation_loss"] for epoch in healing["training"]["history"]]
    assert min(losses) < losses[0]
    assert healing["retention"]["before"] == evaluated["retention"]
    losses = [
        side["language_modelling"]["window_mean"]["value"] for side in (evaluated["dense"], healing["healed"])
    ]
    kept = healing["retention"]["after"]["language_modelling"]["nll_retention"]
    assert kept["value"] == pytest.approx(losses[0] / losses[1])
    before = evaluated["retention"]["language_modelling"]["nll_retention"]
    assert kept["value"] > before["value"]
    assert set(healing["healed_against_base"]) == {"nq", "sciq"}
    assert healing["healed"]["sets"]["nq"]["n"] == 4


def test_no_time_and_no_memory_is_in_the_files(workspace):
    text = (workspace.healing / "figures.json").read_text(encoding="utf-8")
    assert "seconds" not in text
    assert "peak" not in text
    assert not workspace.training.joinpath("heal").exists()


def test_no_test_row_is_in_any_window(workspace, tokenizer, monkeypatch, changed):
    """By the hash of each question that stands in a window, of each review, and by the text's documents."""
    from avss_core.data.rows import read_documents, read_prepared
    from avss_core.evaluation.splits import question_key
    from avss_core.jobs.checkpoint_healing import healing_settings
    from avss_core.jobs.mixture import mixed

    params = changed("heal.tokens=160000", "heal.validation_tokens=8000", "heal.text=0.2", "heal.reviews=0.3")
    mixture = healing_settings(params)["mixture"]
    train, validation = mixed(tokenizer, workspace.prepared, params.data.sets, mixture, 1024)
    asked = {}
    for part, windows in (("train", train), ("validation", validation)):
        assert all(counts["windows"] for counts in windows.counts.values())
        blocks = [block for ids in windows.ids for block in tokenizer.decode(ids).split("\n\n")]
        questions = [b.removeprefix("Question: ").split("\nAnswer:")[0] for b in blocks if "\nAnswer:" in b]
        reviews = [b.removeprefix("Review: ").split("\nSentiment:")[0] for b in blocks if "\nSentiment:" in b]
        asked[part] = {question_key(text) for text in [*questions, *reviews]}
    rows = {
        part: [
            row
            for name in params.data.sets
            for row in read_prepared(workspace.prepared / name / f"{part}.jsonl")
        ]
        for part in ("train", "validation", "calibration", "test")
    }
    rows["reviews"] = read_prepared(workspace.prepared / "sst2" / "validation.jsonl")
    keys = {
        part: {question_key(row.get("question") or row["text"]) for row in prepared}
        for part, prepared in rows.items()
    }
    assert keys["train"] <= asked["train"]  # all of them, since so many tokens are asked for
    assert asked["train"].isdisjoint(asked["validation"])
    for part in ("test", "reviews", "calibration"):
        assert keys[part]
        assert keys[part].isdisjoint(asked["train"] | asked["validation"]), part
    tested, calibration = (
        set(read_documents(workspace.prepared / "text" / f"{part}.json")) for part in ("test", "calibration")
    )
    assert tested
    assert tested.isdisjoint(calibration)  # of which alone the next test finds the windows made


def test_text_begins_behind_what_was_scored(workspace, tokenizer, changed):
    from avss_core.data.rows import read_documents
    from avss_core.jobs.checkpoint_healing import healing_settings
    from avss_core.jobs.mixture import mixed
    from avss_core.models.batches import token_stream

    params = changed("heal.questions=0", "heal.reviews=0")
    mixture = healing_settings(params)["mixture"]
    train, validation = mixed(tokenizer, workspace.prepared, params.data.sets, mixture, 1024)
    documents = read_documents(workspace.prepared / "text" / "calibration.json")
    stream = token_stream(tokenizer, documents, 128 + 64 + 400 + 2000)
    assert sum(validation.ids, ()) == tuple(stream[192:592])
    assert sum(train.ids, ()) == tuple(stream[592:])
    assert {len(ids) for ids in train.ids} == {200}
    assert {len(ids) for ids in mixed(tokenizer, workspace.prepared, [], mixture, 100)[0].ids} == {100}


def test_a_stage_that_was_stopped_goes_on_to_the_same_bytes(workspace, beside, changed, monkeypatch):
    from avss_core.jobs import watched_training as training
    from flows.heal import heal

    class StoppedError(Exception):
        pass

    steps = []

    def dying(watch, step):
        steps.append(step.step)
        if len(steps) == 5:
            raise StoppedError
        live(watch, step)

    live = training._Watch.step
    monkeypatch.setattr(training._Watch, "step", dying)
    with pytest.raises(StoppedError):
        heal(changed(), beside.root)
    assert not beside.healed.exists()
    assert list(beside.training.rglob("training.safetensors"))
    heal(changed(), beside.root)
    assert steps[:7] == [1, 2, 3, 4, 5, 5, 6]
    assert not beside.training.joinpath("heal").exists()
    assert _files(beside) == _files(workspace)


def test_two_runs_give_the_same_bytes_and_a_curve_each(workspace, beside, changed):
    from mlflow import MlflowClient

    from flows import ROOT as HOME
    from flows.heal import heal

    heal(changed(), beside.root)
    assert _files(beside) == _files(workspace)
    client = MlflowClient(f"sqlite:///{HOME / 'mlflow.db'}")
    experiment = client.get_experiment_by_name("avss")
    last = client.search_runs(
        [experiment.experiment_id], "tags.`avss.stage` = 'heal'", order_by=["attributes.start_time DESC"]
    )[0]
    steps = _json(workspace.healing / "figures.json")["training"]["steps"]
    points = client.get_metric_history(last.info.run_id, "heal.train.loss")
    assert sorted((point.step, point.value) for point in points) == [(s["step"], s["loss"]) for s in steps]
    assert last.data.metrics["heal.total.tokens_per_second"] > 0


def test_a_rate_that_leads_to_no_number_leaves_no_checkpoint(beside, changed):
    from flows.heal import heal

    with pytest.raises(ValueError, match="lower the learning rate"):
        heal(changed("heal.learning_rate=1e30"), beside.root)
    assert not beside.healed.exists()
    assert not list(beside.training.rglob("*.safetensors"))


def test_a_stage_that_is_left_out_leaves_an_empty_checkpoint_and_says_so(beside, changed):
    from flows.heal import heal

    assert heal(changed("heal.enabled=false"), beside.root) == "heal.enabled"
    assert _json(beside.healing / "figures.json") == {"enabled": False}
    assert not list(beside.healed.iterdir())


def test_speed_that_is_switched_off_is_recorded_and_sizes_are_still_counted(beside, changed):
    from flows.running.repro import measured_speed
    from flows.speed import speed

    assert speed(changed("speed.enabled=false"), beside.root) == "speed.enabled"
    assert _json(beside.times)["enabled"] is False
    sizes = _json(beside.sizes)
    assert (sizes["dense"]["layers"], sizes["pruned"]["layers"]) == (6, 3)
    assert sizes["dense"]["cache_bytes_per_token"] is None
    assert measured_speed(beside) == ["Speed: not measured (speed.enabled)"]


def test_layers_that_the_pruned_model_lacks_are_named(beside, changed):
    from flows.heal import heal

    with pytest.raises(ValueError, match="layer 3 does not exist: the model has layers 0 to 2"):
        heal(changed("heal.layers=[0, 3]"), beside.root)


def test_a_student_of_one_layer_heals(beside, changed):
    from flows.evaluate import evaluate
    from flows.heal import heal

    for name in ("pruned", "evaluation"):
        (beside.root / "data" / name).unlink()
    _pruned(beside.root, [0, 1, 2, 3, 4])
    params = changed("heal.hidden=0.1", "heal.top_k=8")
    evaluate(params, beside.root)
    heal(params, beside.root)
    training = _json(beside.healing / "figures.json")["training"]
    assert training["dense_layers"] == [5]
    assert set(training["steps"][0]["terms"]) == {"kl", "hidden"}


def test_mitigation_can_start_from_the_healed_model(workspace, beside, changed):
    from avss_core.files.writing import write_json
    from flows.mitigate import mitigate

    for name in ("healed", "healing"):
        (beside.root / "data" / name).symlink_to(workspace.root / "data" / name)
    readings = {"eavss": {"values": [0.2, 0.4, 0.3, 0.0, 0.0, 0.1]}}
    write_json(beside.localization, {"most_prone": [1, 2, 0, 5], "readings": readings})
    mitigate(changed("mitigate.base=healed", "mitigate.layers=1", "mitigate.pairs=4"), beside.root)
    certificate = _json(beside.mitigated / "certificate.json")
    healed = _json(workspace.healed / "certificate.json")
    assert certificate["layer_map"] == KEPT
    assert _json(beside.mitigation / "figures.json")["base"] == "healed"
    same = {name for name, digest in certificate["tensors"].items() if healed["tensors"][name] == digest}
    assert {int(name.split(".")[2]) for name in certificate["tensors"].keys() - same} == {1}
