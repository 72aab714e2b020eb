"""DVC on a whole run of a tiny model: plots, metrics between two commits, and what a fresh clone pulls."""

import contextlib
import json
import shutil
import sys
import urllib.request
from pathlib import Path

import pytest
from moto.server import ThreadedMotoServer
from ruamel.yaml import YAML
from transformers import AutoModelForCausalLM

from avss_core.files.digests import digest_path
from tests.flows.dvc_projects import Project

ROOT = Path(__file__).resolve().parents[2]
SECRET = "not-a-real-secret"

QUICK = {
    "data.sets": ["nq"],
    "collect.tokens": 256,
    "collect.set_tokens": 64,
    "collect.window": 64,
    "collect.answers": 8,
    "collect.parts": 2,
    "collect.sites": ["update"],
    "score.compare": ["avss", "last_n"],
    "score.cost_tokens": 128,
    "score.resamples": 4,
    "speed.prompt_tokens": 32,
    "speed.new_tokens": 2,
    "speed.batch_sizes": [1],
    "speed.rounds": 1,
    "evaluate.shots": 1,
    "evaluate.limit": 4,
    "evaluate.layer_questions": 0,
    "evaluate.scored_answers": 0,
    "evaluate.judge": "f1",
    "evaluate.max_new_tokens": 2,
    "evaluate.tokens": 128,
    "evaluate.window": 64,
    "evaluate.sentiment_shots": 0,
    "repair.tokens": 600,
    "repair.window": 128,
    "heal.tokens": 600,
    "heal.validation_tokens": 200,
    "heal.window": 128,
    "heal.rank": 2,
    "localize.resamples": 4,
    "mitigate.layers": 2,
    "mitigate.pairs": 4,
    "mitigate.brier": 1.0,
    "mitigate.anchor": 1.0,
}


class Reads:
    """The prepared files that each stage opened."""

    def __init__(self):
        self.stage, self.files = None, {}
        sys.addaudithook(self._hook)  # stays for good, and does nothing once no stage is named

    def _hook(self, event, arguments):
        if self.stage and event == "open" and "/data/prepared/" in str(arguments[0]):
            self.files.setdefault(self.stage, set()).add(Path(str(arguments[0])))


@pytest.fixture(scope="module")
def reads():
    return Reads()


@pytest.fixture(scope="module")
def project(tiny, tokenizer, prefect_harness, reads, tmp_path_factory):
    """Two commits of a run; the second measured the choices of layers on less text."""
    from avss_core.settings.reading import load_params
    from flows import ROOT as HOME
    from flows.pipeline import STAGES
    from flows.running import stage as stages
    from tasks.history.tracking import pipeline_run

    model = tmp_path_factory.mktemp("model")
    tiny("llama", max_position_embeddings=1024).save_pretrained(model)
    tokenizer.save_pretrained(model)
    project = Project(tmp_path_factory.mktemp("project") / "repository")
    project.fill()
    project.set(**{"model.name": str(model)}, **QUICK)

    @contextlib.contextmanager
    def watched(name):
        reads.stage = name
        yield
        reads.stage = None

    def unwatched(*arguments, known=stages.data_parts):
        reads.stage = None  # what writes the record reads what it is of
        return known(*arguments)

    def run(names):
        params = load_params(project.root / "params.yaml")
        with pytest.MonkeyPatch.context() as patch, pipeline_run(HOME):
            patch.setattr(stages, "data_parts", unwatched)
            for name in names:
                with watched(name):
                    STAGES[name](params, project.root)
        project.dvc("commit", "--force", "--quiet")

    project.git("init", "--quiet")
    run(STAGES)
    project.commit("a run")
    project.set(**{"score.cost_tokens": 96})
    run(["score", "report"])
    project.commit("less text")
    return project


@pytest.fixture
def as_before(project):
    """The project, whose commits and settings are put back afterwards."""
    head = project.git("rev-parse", "HEAD").strip()
    yield project
    project.git("reset", "--quiet", "--hard", head)
    (project.root / ".dvc" / "config.local").unlink(missing_ok=True)


@pytest.fixture(params=["folder", "s3"])
def remote(request, as_before):
    """A remote as docs/remotes.md sets it up: its commands, and the credentials of the environment."""
    if request.param == "folder":
        yield [("remote", "add", "--force", "--default", "store", "../store")], {}
        return
    server = ThreadedMotoServer("127.0.0.1", port=0)
    server.start()
    try:
        host, port = server.get_host_and_port()
        address = f"http://{host}:{port}"
        urllib.request.urlopen(urllib.request.Request(f"{address}/avss", method="PUT"), timeout=60).close()
        yield (
            [
                ("remote", "add", "--force", "--default", "store", "s3://avss/runs"),
                ("remote", "modify", "store", "endpointurl", address),
                ("remote", "modify", "--local", "store", "secret_access_key", SECRET),
                ("remote", "modify", "--local", "store", "access_key_id", "somebody"),
            ],
            {
                "AWS_ACCESS_KEY_ID": "somebody",
                "AWS_SECRET_ACCESS_KEY": SECRET,
                "AWS_DEFAULT_REGION": "us-east-1",
            },
        )
    finally:
        server.stop()


def test_a_fresh_clone_pulls_everything_and_runs_nothing(project, remote, tmp_path_factory):
    commands, credentials = remote
    for command in commands:
        project.dvc(*command)
    project.git("commit", "--quiet", "--allow-empty", "--message", "a remote", ".dvc/config")
    project.dvc("push")
    clone = project.clone(tmp_path_factory.mktemp("clones", numbered=True) / "clone")
    if not credentials:  # a folder beside the repository is one beside the clone
        (clone.root.parent / "store").symlink_to(project.root.parent / "store")
    assert SECRET not in clone.git("grep", "--cached", "-e", "", "--", ".dvc")
    assert not (clone.root / "data" / "pruned").exists()
    clone.dvc("pull", **credentials)
    for name in (
        "activations",
        "pruned",
        "repaired",
        "healed",
        "mitigated",
        "dense",
        "prepared",
        "statistics.json",
    ):
        assert digest_path(clone.root / "data" / name) == digest_path(project.root / "data" / name), name
    assert json.loads(clone.dvc("status", "--json")) == {}
    said = clone.dvc("repro")
    assert "Data and pipelines are up to date." in said
    assert "Running stage" not in said
    assert clone.git("status", "--porcelain") == ""
    model = AutoModelForCausalLM.from_pretrained(clone.root / "data" / "pruned")
    assert model.config.num_hidden_layers == 5


def test_every_plot_is_drawn(project):
    declared = [name for entry in YAML(typ="safe").load(ROOT / "dvc.yaml")["plots"] for name in entry]
    shown = json.loads(project.dvc("plots", "show", "--json"))
    assert not shown.get("errors")
    names = [name.rpartition("::")[2] for name in shown["data"]]
    assert sorted(names) == sorted(declared)
    assert all(plot["content"]["data"]["values"] for (plot,) in shown["data"].values())
    page = Path(project.dvc("plots", "show", "--out", "drawn").strip().removeprefix("file://"))
    text = page.read_text(encoding="utf-8")
    for name in declared:
        assert name in text
    shutil.rmtree(page.parent)


def test_a_plot_compares_two_commits(project):
    target = "Loss after each choice of layers"
    page = project.dvc("plots", "diff", "HEAD~1", "--targets", target, "--out", "drawn")
    text = Path(page.strip().removeprefix("file://")).read_text(encoding="utf-8")
    shutil.rmtree(project.root / "drawn")
    assert '"rev": "workspace"' in text
    assert '"rev": "HEAD~1"' in text


def test_metrics_tell_what_changed_between_two_commits(project):
    one = project.git("log", "--format=%H", "--grep", "a run").split()[0]
    two = project.git("log", "--format=%H", "--grep", "less text").split()[0]
    told = project.dvc("metrics", "diff", "--json", one, two, "--targets", "reports/summary.json")
    (changed,) = json.loads(told).values()
    assert {"score.dense_nll", "score.removal_nll.avss", "score.removal_nll.last_n"} <= set(changed)
    assert all(key.startswith("score.") for key in changed)
    assert changed["score.dense_nll"]["diff"] == pytest.approx(
        changed["score.dense_nll"]["new"] - changed["score.dense_nll"]["old"]
    )


def test_a_table_of_runs_shows_the_headline_figures_alone(project):
    from tasks.report.headline_figures import FIGURES

    (shown,) = json.loads(project.dvc("metrics", "show", "--json")).values()
    ((file, entry),) = shown["data"].items()
    assert file == "reports/headline.json"
    assert set(entry["data"]) <= set(FIGURES)
    assert {"layers_removed", "perplexity"} <= set(entry["data"])
    heads = project.dvc("exp", "show", "--csv", "--drop", ".*yaml|data|avss_core|flows|tasks").splitlines()[0]
    assert {"layers_removed", "kept_text"} <= set(heads.split(","))
    assert "removal_nll" not in heads


def test_each_checkpoint_is_a_model_of_dvc(project):
    declared = YAML(typ="safe").load(project.root / "dvc.yaml")
    outs = [out for stage in declared["stages"].values() for out in stage["outs"]]
    for name, artifact in declared["artifacts"].items():
        assert (artifact["type"], artifact["path"]) == ("model", f"data/{name}")
        assert artifact["path"] in outs


def test_the_recorded_data_are_those_that_each_stage_reads(project, reads):
    from flows.pipeline import STAGES

    for name, stage in STAGES.items():
        if name == "prepare":
            continue
        opened = {path for path in reads.files.get(name, ()) if path.name != "manifest.json"}
        kinds = {"text": "text", "sst2": "reviews"}
        read = {f"{kinds.get(path.parent.name, 'questions')}/{path.stem}" for path in opened}
        assert read == set(stage.reads), name
