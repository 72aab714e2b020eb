"""The whole DAG once, on a tiny model, with a real Prefect server and a real MLflow database."""

import asyncio
import json
from pathlib import Path

import pandas as pd
import pytest
from mlflow import MlflowClient
from transformers import AutoModelForCausalLM

ROOT = Path(__file__).resolve().parents[2]

QUICK = {
    "data.sets": "[nq, sciq]",
    "collect.tokens": 256,
    "collect.set_tokens": 128,
    "collect.window": 64,
    "collect.answers": 8,
    "collect.parts": 4,
    "score.name": "avss",
    "score.cost_tokens": 128,
    "score.repair_tokens": 128,
    "score.traversal_tokens": 128,
    "score.traversal_window": 32,
    "score.traversal_context": 16,
    "execution.workers": 2,
    "score.resamples": 10,
    "score.compare": "[avss, avss_authors, block_influence, last_n, random, traversal, greedy, "
    "repairability]",
    "score.random_draws": 2,
    "speed.prompt_tokens": 64,
    "speed.new_tokens": 4,
    "speed.batch_sizes": "[1, 2]",
    "speed.rounds": 2,
    "evaluate.shots": 1,
    "evaluate.limit": 4,
    "evaluate.layer_questions": 3,
    "evaluate.layer_step": 2,
    "evaluate.judge": "fitted_lexical",
    "evaluate.max_new_tokens": 4,
    "evaluate.tokens": 128,
    "evaluate.window": 64,
    "repair.tokens": 600,
    "repair.window": 128,
    "heal.tokens": 600,
    "heal.validation_tokens": 200,
    "heal.window": 128,
    "heal.rank": 2,
    "heal.validate_every": 2,
    "localize.resamples": 10,
    "mitigate.layers": 2,
    "mitigate.pairs": 4,
    "mitigate.epochs": 1,
    "mitigate.batch_size": 4,
    "mitigate.controls": "[cross_entropy, random, lowest, all]",
    "mitigate.random_draws": 2,
}


@pytest.fixture(scope="module")
def model(tiny, tokenizer, tmp_path_factory):
    folder = tmp_path_factory.mktemp("model")
    tiny("llama", max_position_embeddings=1024).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def workspace(model, prefect_harness, tmp_path_factory):
    from avss_core.settings.reading import load_params
    from flows.pipeline import pipeline

    root = tmp_path_factory.mktemp("workspace")
    changes = [f"model.name={model}", *(f"{key}={value}" for key, value in QUICK.items())]
    pipeline(load_params(ROOT / "params.yaml", changes), root)
    return root


def _json(path):
    return json.loads(path.read_text(encoding="utf-8"))


def test_every_stage_leaves_its_files_and_nothing_half_written(workspace):
    from flows.running.workspace import Workspace

    paths = Workspace(workspace)
    names = "prepared dense statistics activations scores pruned repaired repair evaluation healed healing"
    for name in [*names.split(), "localization", "mitigated", "mitigation", "reports"]:
        assert getattr(paths, name).exists(), name
    assert not [path for path in workspace.rglob("*") if path.name.endswith(".part")]


def test_the_settings_of_the_run_stay_beside_its_results(workspace, model):
    from avss_core.settings.reading import load_params

    changes = [f"model.name={model}", *(f"{key}={value}" for key, value in QUICK.items())]
    assert load_params(workspace / "params.yaml") == load_params(ROOT / "params.yaml", changes)
    assert load_params(ROOT / "params.yaml") != load_params(workspace / "params.yaml")


def test_scores_rank_every_layer_by_every_reading(workspace):
    scores = _json(workspace / "data/scores.json")
    assert set(scores["readings"]) == {
        "avss",
        "avss_authors",
        "block_influence",
        "last_n",
        "random_0",
        "random_1",
        "traversal",
        "greedy",
        "repairability",
    }
    for reading in scores["readings"].values():
        assert len(reading["scores"]) == 6
        assert sum(reading["normalised"]) == pytest.approx(1)
        assert len(reading["removed"]) == 1
        assert reading["cost"]["tokens"] == scores["dense"]["tokens"]
        assert reading["cost"]["interval"]["low"] <= reading["cost"]["interval"]["high"]
        assert reading["repaired"]["tokens"] == scores["dense"]["tokens"]
        assert reading["repaired"]["interval"]["low"] <= reading["repaired"]["interval"]["high"]
    assert scores["readings"]["avss"]["repaired"]["over_chosen"]["value"] == 0
    assert (scores["after_repair"]["tokens"], scores["after_repair"]["left_out"]) == (128, "")
    assert scores["removed"] == scores["readings"]["avss"]["removed"]
    # One layer of six goes: greedy removal takes the one that traversal finds cheapest.
    assert scores["readings"]["greedy"]["removed"] == scores["readings"]["traversal"]["removed"]
    assert scores["readings"]["avss"]["cost"]["over_chosen"]["value"] == 0
    measured = {
        "avss",
        "avss_authors",
        "block_influence",
        "traversal",
        "greedy",
        "repairability",
    }
    assert set(scores["agreement"]) == measured | {"depth"}


def test_stability_says_how_often_each_layer_goes(workspace):
    scores = _json(workspace / "data/scores.json")
    stable = scores["stability"]
    assert scores["thin"] == {}
    assert set(stable) == {
        "avss",
        "avss_authors",
        "block_influence",
        "traversal",
        "repairability",
    }
    for record in stable.values():
        assert sum(record["frequency"]) == pytest.approx(1)
        assert 0 <= record["same"] <= 1
    assert [entry["tokens"] for entry in stable["avss"]["sizes"]] == [64, 128]
    assert set(stable["avss"]["sources"]) == {"nq", "sciq"}


def test_the_loss_without_a_layer_is_that_of_the_pruned_model(workspace):
    """Every layer's removal, as traversal measured it, against a model loaded and pruned here."""
    import torch

    from avss_core.models.batches import token_stream
    from avss_core.models.loading import load_model, load_tokenizer
    from avss_core.surgery.pruning import prune

    losses = _json(workspace / "data/scores.json")["readings"]["traversal"]["scores"]
    folder = str(workspace / "data/dense")
    model, tokenizer = load_model(folder), load_tokenizer(folder)
    text = _json(workspace / "data/prepared/text/calibration.json")
    ids = token_stream(tokenizer, text, 128)
    windows = [ids[i : i + 16 + 33] for i in range(0, 127 - 16, 32)]
    for layer, loss in enumerate(losses):
        pruned, total = prune(model, [layer]), 0.0
        for window in windows:
            tokens = torch.tensor([window])
            with torch.inference_mode():
                logits = pruned(tokens[:, :-1]).logits[0, 16:]
            total += float(torch.nn.functional.cross_entropy(logits, tokens[0, 17:], reduction="sum"))
        assert loss == pytest.approx(total / (127 - 16), abs=1e-5)


def test_the_pruned_checkpoint_is_certified_and_loads_with_plain_transformers(workspace):
    certificate = _json(workspace / "data/pruned/certificate.json")
    assert all(check["passed"] for check in certificate["checks"])
    removed = _json(workspace / "data/scores.json")["removed"]
    assert certificate["layer_map"] == [layer for layer in range(6) if layer not in removed]
    assert AutoModelForCausalLM.from_pretrained(workspace / "data/pruned").config.num_hidden_layers == 5


def test_the_card_and_the_choice_for_other_tools_stand_beside_the_checkpoint(workspace, model):
    removed = _json(workspace / "data/scores.json")["removed"]
    folder = workspace / "data/pruned"
    assert (folder / "llama-quantize.txt").read_text() == f"--prune-layers {removed[0]}\n"
    assert f'model: "{model}"' in (folder / "mergekit.yaml").read_text()
    assert "| chosen by | avss |" in (folder / "README.md").read_text()
    assert _json(folder / "certificate.json")["way"] == "copied tensor by tensor"


def test_times_are_told_apart_from_what_must_repeat(workspace, monkeypatch):
    from flows.running.repro import measured_speed
    from flows.running.workspace import Workspace

    sizes, times = (_json(workspace / f"data/{name}.json") for name in ("sizes", "speed"))
    assert (sizes["dense"]["layers"], sizes["pruned"]["layers"]) == (6, 5)
    assert sizes["pruned"]["cache_bytes_per_token"] * 6 == sizes["dense"]["cache_bytes_per_token"] * 5
    assert times["ratios"]["pruned"]["decode"]["2"]["value"] > 0
    (picture,) = (workspace / "data/times").iterdir()
    assert times["checkpoint"].startswith(picture.stem)
    assert f"../data/times/{picture.name}" in (workspace / "reports/index.html").read_text(encoding="utf-8")
    (line,) = measured_speed(Workspace(workspace))
    assert line.startswith("Speed of pruned over dense: prefill ")
    # The times of another checkpoint are not passed off as this one's.
    changed = times | {"checkpoint": "another"}
    monkeypatch.setattr("avss_core.files.writing.read_json", lambda _path: changed)
    assert measured_speed(Workspace(workspace)) == []


def test_all_models_answer_the_same_questions(workspace):
    answers = pd.read_parquet(workspace / "data/evaluation/answers.parquet")
    models = ("dense", "pruned", "repaired")
    asked = [answers.loc[answers["variant"] == model, ["set", "id"]].to_numpy().tolist() for model in models]
    assert asked[0] == asked[1] == asked[2]
    assert answers.groupby(["variant", "set"]).size().to_dict() == {
        (variant, name): 4 for variant in models for name in ("nq", "sciq", "sentiment")
    }
    # The same question has the same prompt for both models.
    assert (answers.groupby(["set", "id"])["prompt"].nunique() == 1).all()


def test_every_second_layer_up_to_the_last_answers(workspace):
    figures = _json(workspace / "data/evaluation/figures.json")
    layers = figures["layers"]
    assert layers["layers"] == [1, 3, 5]
    assert layers["n"] == {"nq": 3, "sciq": 3}
    assert all(len(values) == 3 for values in layers["sets"]["nq"].values())


def test_the_results_are_there_in_the_harness_layout(workspace):
    figures = _json(workspace / "data/evaluation/figures.json")
    harness = _json(workspace / "data/evaluation/results_pruned.json")
    assert harness["results"]["avss_nq"]["acc,none"] == figures["pruned"]["sets"]["nq"]["accuracy"]["value"]
    assert harness["n-samples"]["avss_nq"] == {"original": 4, "effective": 4}


def test_no_gate_is_no_reason_to_fail(workspace):
    assert _json(workspace / "data/gates.json")["fallen"] == {"pruned": [], "repaired": [], "healed": []}


def test_training_used_train_rows_alone_and_changed_the_chosen_layers_alone(workspace):
    training = _json(workspace / "data/mitigation/figures.json")["training"]
    assert training["train_pairs"] == 8
    assert len(training["layers"]) == 2
    certificate = _json(workspace / "data/mitigated/certificate.json")
    trained = {name for name in certificate["tensors"] if name not in certificate["source_tensors"]}
    assert {int(name.split(".")[2]) for name in trained} == set(training["layers"])


def test_the_controls_train_what_they_say_at_an_equal_size_and_leave_no_checkpoint(workspace):
    mitigation = _json(workspace / "data/mitigation/figures.json")
    own = mitigation["training"]
    controls = {name: control["training"] for name, control in mitigation["controls"].items()}
    assert controls.keys() == {"cross_entropy", "random_1", "random_2", "lowest", "all"}
    assert controls["cross_entropy"]["layers"] == own["layers"]
    assert not {"preference", "info_nce"} & controls["cross_entropy"]["history"][0]["train_terms"].keys()
    prone = _json(workspace / "data/localization.json")["most_prone"]
    assert controls["lowest"]["layers"] == sorted(prone[-2:])
    assert controls["all"]["layers"] == list(range(6))
    for training in controls.values():
        assert training["train_rows"] == own["train_rows"]
        assert len(training["steps"]) == len(own["steps"])
        assert training["parameters"] == pytest.approx(own["parameters"], rel=0.2)
    assert all(control["divergence"]["value"] > 0 for control in mitigation["controls"].values())
    assert mitigation["against_controls"].keys() == {"cross_entropy", "random", "lowest", "all"}
    assert mitigation["localization_against_training"]["trainings"] == [
        "mitigated", "random_1", "random_2", "lowest",
    ]  # fmt: skip
    assert not (workspace / "data/controls").exists() or not list((workspace / "data/controls").iterdir())


def test_questions_without_a_wrong_answer_are_counted(workspace, tmp_path):
    from avss_core.jobs.prone.checkpoint_mitigation import question_pairs

    rows = [
        json.loads(line) for line in (workspace / "data/prepared/nq/train.jsonl").read_text().splitlines()
    ]
    for row in (rows[0], rows[2]):
        row["wrong_answers"] = []
    rows[1]["wrong_answers"], rows[3]["wrong_answers"] = ["a", "b"], ["c", "d"]
    path = tmp_path / "train.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    pairs, without = question_pairs(path, 2)
    assert [(pair.question, pair.wrong) for pair in pairs] == [
        (rows[1]["question"], "a"), (rows[3]["question"], "d"),
    ]  # fmt: skip
    assert without == 2


def test_no_test_question_is_trained_on_or_chooses_an_epoch(workspace, tmp_path):
    import shutil

    from avss_core.jobs.prone.checkpoint_mitigation import train_layers

    prepared = tmp_path / "prepared"
    shutil.copytree(workspace / "data/prepared", prepared)
    row = (prepared / "nq/test.jsonl").read_text(encoding="utf-8").splitlines()[0]
    question = json.loads(row)["question"]
    path = prepared / "nq/validation.jsonl"
    rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    rows[0]["question"] = f"  {question.upper()}?"
    path.write_text("".join(json.dumps(each) + "\n" for each in rows), encoding="utf-8")
    with pytest.raises(ValueError, match="is a test question: nothing may be learnt or chosen by it"):
        train_layers(
            workspace / "data/dense", prepared, ["nq"], [1], dtype="float32", device="cpu", pairs=4,
            settings={}, folder=tmp_path / "out", provenance={}, replace=False, resume=tmp_path / "resume",
            say=print,
        )  # fmt: skip
    assert not (tmp_path / "out").exists()


def test_history_has_one_parent_with_a_finished_child_for_each_stage(workspace):
    from flows import ROOT as HOME
    from flows.pipeline import STAGES

    client = MlflowClient(f"sqlite:///{HOME / 'mlflow.db'}")
    experiment = client.get_experiment_by_name("avss")
    runs = client.search_runs([experiment.experiment_id])
    # Stages that other tests ran one by one have parents of their own.
    report = next(run for run in runs if run.data.tags.get("avss.stage") == "report")
    owner = report.data.tags["mlflow.parentRunId"]
    parents = [run for run in runs if run.info.run_id == owner]
    children = [run for run in runs if run.data.tags.get("mlflow.parentRunId") == owner]
    assert {run.data.tags["avss.stage"] for run in children} == set(STAGES)
    assert len(children) == len(STAGES)
    assert {run.info.status for run in [*parents, *children]} == {"FINISHED"}
    assert {"dense.nq.accuracy", "score.repaired_nll.avss"} <= set(parents[0].data.metrics)
    headline = {name.removeprefix("headline/"): value for name, value in parents[0].data.metrics.items()
                if name.startswith("headline/")}  # fmt: skip
    assert headline == _json(workspace / "reports/headline.json")
    assert (
        f"| layers removed | {headline['layers_removed']:.4g} |"
        in parents[0].data.tags["mlflow.note.content"]
    )
    figures = client.list_artifacts(report.info.run_id, "figures")
    assert {Path(each.path).suffix for each in figures} == {".png", ".svg"}
    assert client.list_artifacts(report.info.run_id, "tables")
    # The run of the pipeline opens with the first sentences of the page and holds its picture.
    note = parents[0].data.tags["mlflow.note.content"]
    page = (workspace / "reports/index.html").read_text(encoding="utf-8")
    lines = [line.removeprefix("- ") for line in note.splitlines() if line.startswith("- ")]
    assert 3 <= len(lines) <= 5
    assert [line for line in lines if f"<li>{line}</li>" in page] == lines
    shown = [each.path for each in client.list_artifacts(owner, "figures")]
    assert shown == ["figures/overview.png", "figures/overview.svg"]
    assert f"`{shown[0]}`" in note


def test_each_checkpoint_of_a_run_is_a_model_with_its_figures(workspace):
    from flows import ROOT as HOME
    from tasks.history.logged_models import pointer

    client = MlflowClient(f"sqlite:///{HOME / 'mlflow.db'}")
    experiment = client.get_experiment_by_name("avss").experiment_id
    for name in ("dense", "pruned", "repaired", "healed", "mitigated"):
        digest = pointer(name, workspace / "data" / name, workspace)["digest"]
        (model,) = client.search_logged_models([experiment], f"name = '{name}' and tags.digest = '{digest}'")
        metrics = client.get_logged_model(model.model_id).metrics
        tied = {(point.key, point.dataset_name) for point in metrics}
        assert {(f"{name}.nq.accuracy", "nq/test"), (f"{name}.text.nll", "text/test")} <= tied, name


async def _artifacts():
    from prefect import get_client

    async with get_client() as client:
        return {each.key: each.data for each in await client.read_latest_artifacts()}


def test_prefect_shows_what_the_report_begins_with(workspace):
    from tasks.report.headline_figures import FIGURES

    artifacts = asyncio.run(_artifacts())
    page = (workspace / "reports/index.html").read_text(encoding="utf-8")
    lines = artifacts["report"].splitlines()
    assert lines
    assert all(f"<li>{line.removeprefix('- ')}</li>" in page for line in lines)
    shown = {row["figure"]: row["value"] for row in json.loads(artifacts["headline-figures"])}
    headline = _json(workspace / "reports/headline.json")
    assert shown == {FIGURES[name]: value for name, value in headline.items()}


def test_a_run_is_the_same_by_its_folder_its_report_and_its_id_in_mlflow(workspace, tmp_path):
    import shutil

    from flows import ROOT as HOME
    from tasks.compare.finding import find_run
    from tasks.compare.runs import compare_runs

    client = MlflowClient(f"sqlite:///{HOME / 'mlflow.db'}")
    runs = client.search_runs([client.get_experiment_by_name("avss").experiment_id])
    report = next(run for run in runs if run.data.tags.get("avss.stage") == "report")
    parent = report.data.tags["mlflow.parentRunId"]
    shutil.copytree(workspace / "reports", tmp_path / "reports")
    runs = [find_run(str(each), HOME) for each in (workspace, tmp_path / "reports", parent)]
    assert [each.kind for each in runs] == ["workspace", "reports", "MLflow"]
    for other in runs[1:]:
        compared = compare_runs(runs[0], other, 0)
        assert not any(compared["differs"].values())
        assert compared["models"]["healed"]["sets"].keys() == {"nq", "sciq"}
        assert not any(entry["reasons"] for entry in compared["models"]["healed"]["sets"].values())
    paired = compare_runs(runs[0], runs[0], 0)["models"]["mitigated"]["sets"]["sciq"]
    assert paired["shared"] == 4
    with pytest.raises(LookupError, match=f"is the stage report alone; name its pipeline, {parent}"):
        find_run(report.info.run_id, HOME)
    with pytest.raises(LookupError, match="there is no MLflow run 0000"):
        find_run("0" * 32, HOME)
    experiment = report.info.experiment_id
    cut = client.create_run(experiment, tags={"avss.stage": "pipeline"}).info.run_id
    client.set_terminated(cut, "KILLED")
    with pytest.raises(
        FileNotFoundError, match=r"half-finished \(KILLED\): its report is missing; finished are no"
    ):
        find_run(cut, HOME)
    client.delete_run(cut)


def test_a_second_run_gives_the_same_bytes_and_takes_finished_units_from_the_cache(
    workspace, model, prefect_harness, tmp_path, monkeypatch
):
    from avss_core.jobs import text_statistics
    from avss_core.jobs.evaluation import questions
    from avss_core.jobs.removal import losses, repaired_costs, residuals
    from avss_core.settings.reading import load_params
    from flows.pipeline import pipeline

    def never(*_args, **_kwargs):
        raise AssertionError("a cached unit ran again")

    # The answers of the dense and the pruned model come from the cache, and training repeats to the bit, so
    # the answers of the trained model do too.
    for module, name in (
        (text_statistics, "collect_statistics"),
        (losses, "loss_without"),
        (losses, "layer_inputs"),
        (repaired_costs, "repaired_without"),
        (residuals, "layer_residuals"),
        (questions, "answer_questions"),
        (questions, "answers_by_layer"),
    ):
        monkeypatch.setattr(module, name, never)
    changes = [f"model.name={model}", *(f"{key}={value}" for key, value in QUICK.items())]
    pipeline(load_params(ROOT / "params.yaml", changes), tmp_path)
    for name in ("data/scores.json", "data/evaluation/figures.json", "data/mitigation/figures.json",
                 "data/healing/figures.json", "data/healed/model.safetensors",
                 "data/activations/update.safetensors", "data/pruned/model.safetensors",
                 "data/mitigated/model.safetensors", "reports/summary.json"):  # fmt: skip
        assert (tmp_path / name).read_bytes() == (workspace / name).read_bytes(), name


def test_a_gate_fails_the_run_and_names_what_fell(workspace, model, prefect_harness, tmp_path):
    from avss_core.files.writing import write_json
    from avss_core.settings.reading import load_params
    from flows import ROOT as HOME
    from flows.gate import gate
    from tasks.history.logged_models import registered_name

    changes = [f"model.name={model}", *(f"{key}={value}" for key, value in QUICK.items())]
    params = load_params(ROOT / "params.yaml", [*changes, "gates.min_retention=0.9"])
    figures = _json(workspace / "data/evaluation/figures.json")
    figures["retention"]["language_modelling"]["nll_retention"] = {"value": 0.5, "low": 0.4, "high": 0.6}
    repaired = figures.pop("repaired")
    write_json(tmp_path / "data/evaluation/figures.json", figures)
    write_json(tmp_path / "data/healing/figures.json", {"enabled": False})
    fell = r"pruned: language modelling NLL: retention 0.50 \[0.40, 0.60\] is under gates.min_retention 0.9"
    with pytest.raises(ValueError, match=fell):
        gate(params, tmp_path)
    assert not (tmp_path / "data/gates.json").exists()
    # What comes after the pruned model has the last word.
    repaired["retention"] = figures["retention"]
    write_json(tmp_path / "data/evaluation/figures.json", figures | {"repaired": repaired})
    with pytest.raises(ValueError, match=fell.replace("pruned", "repaired")):
        gate(params, tmp_path)
    # Where there is a healed model it has the last word; what the pruned one lost is written down.
    good = json.loads(json.dumps(figures["retention"]).replace("0.5", "0.95"))
    for entry in (*good["generation"]["sets"].values(), good["classification"]["sentiment"]):
        entry["retention"] = {"value": 1.0, "low": 1.0, "high": 1.0}
    healing = {"enabled": True, "retention": {"after": good}}
    write_json(tmp_path / "data/healing/figures.json", healing)
    for name in ("dense", "healed"):
        (tmp_path / "data" / name).symlink_to(workspace / "data" / name)
    gate(params, tmp_path)
    assert _json(tmp_path / "data/gates.json")["fallen"]["pruned"]
    # The model that passed is the champion, with the digest that MLflow's model of it has.
    client = MlflowClient(f"sqlite:///{HOME / 'mlflow.db'}")
    champion = client.get_model_version_by_alias(registered_name(str(model)), "champion")
    (known,) = client.search_logged_models(
        [client.get_experiment_by_name("avss").experiment_id],
        f"name = 'healed' and tags.digest = '{champion.tags['digest']}'",
    )
    assert champion.source == known.artifact_location
    healing["retention"]["after"] = figures["retention"]
    write_json(tmp_path / "data/healing/figures.json", healing)
    with pytest.raises(ValueError, match=fell.replace("pruned", "healed")):
        gate(params, tmp_path)
