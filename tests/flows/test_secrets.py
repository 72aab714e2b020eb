"""A stage in a process of its own, whose environment is full of secrets: none of them is left anywhere."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
CANARY = "canary-7f3a9c"
ADDRESS = f"://user:{CANARY}@127.0.0.1:9"
SECRETS = {
    **dict.fromkeys(("HF_TOKEN", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"), CANARY),
    **dict.fromkeys(("PREFECT_API_KEY", "MLFLOW_TRACKING_TOKEN", "GIT_PASSWORD"), CANARY),
    "https_proxy": f"http{ADDRESS}",
    "NO_PROXY": "127.0.0.1",
}

STAGE = """
import sys
from pathlib import Path
from avss_core.cli.errors import readable_errors

with readable_errors():
    from avss_core.settings.reading import load_params
    from flows.prepare import prepare

    prepare(load_params(Path("params.yaml"), sys.argv[2:]), Path(sys.argv[1]))
"""


@pytest.fixture
def data(tmp_path):
    """A folder with one set, whose ids look like the names of files elsewhere."""
    folder = tmp_path / "data"
    for side in ("train", "test"):
        rows = [
            {"id": f"../../{side}/{i}", "question": f"{side} {i}?", "answers": ["x"], "wrong_answers": ["/y"]}
            for i in range(20)
        ]
        (folder / "quiz").mkdir(parents=True, exist_ok=True)
        (folder / "quiz" / f"{side}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder


@pytest.fixture
def prepare(checkpoint, data, tmp_path):
    """A function that runs the stage with more variables, and returns what it gave back."""
    home = tmp_path / "home"
    git = ["git", "-C", str(home)]
    home.mkdir()
    subprocess.run([*git, "init", "--quiet"], check=True)
    subprocess.run([*git, "remote", "add", "origin", f"https{ADDRESS}/x.git"], check=True)

    def run(**variables):
        kept = {name: value for name, value in os.environ.items() if not name.startswith("PREFECT_")}
        settings = {"model.name": checkpoint, "data.source": "path", "data.path": data, "data.sets": "[quiz]"}
        changes = [f"{key}={value}" for key, value in settings.items()]
        return subprocess.run(
            [sys.executable, "-W", "ignore", "-c", STAGE, str(tmp_path / "out"), *changes],
            cwd=ROOT, env=kept | SECRETS | {"AVSS_HOME": str(home)} | variables,
            capture_output=True, text=True, check=False,
        )  # fmt: skip

    return run


def holding(folder, text):
    """Return the files below a folder that hold a text."""
    files = [path for path in folder.rglob("*") if path.is_file()]
    return {path.relative_to(folder).as_posix() for path in files if text.encode() in path.read_bytes()}


@pytest.mark.slow
def test_a_stage_leaves_no_secret_in_history_logs_or_results(prepare, tmp_path):
    done = prepare()
    assert done.returncode == 0, done.stderr.replace(CANARY, "CANARY")
    assert CANARY not in done.stdout + done.stderr
    assert holding(tmp_path, CANARY) == {"home/.git/config"}  # where the test put it
    assert "home/mlflow.db" in holding(tmp_path, "model.name")  # what is looked through holds the run
    assert any(name.startswith("home/.prefect/") for name in holding(tmp_path, "prepare"))
    parts = {f"quiz/{part}.jsonl" for part in ("train", "validation", "calibration", "test")}
    parts |= {"sst2/train.jsonl", "sst2/validation.jsonl", "text/calibration.json", "text/test.json"}
    prepared = tmp_path / "out" / "data" / "prepared"
    assert holding(prepared, "") == parts | {"manifest.json"}


@pytest.mark.slow
def test_an_error_about_the_server_of_experiments_does_not_name_its_password(prepare, tmp_path):
    done = prepare(MLFLOW_TRACKING_URI=f"http{ADDRESS}", MLFLOW_HTTP_REQUEST_MAX_RETRIES="0")
    assert done.returncode == 1
    assert "127.0.0.1" in done.stderr
    assert CANARY not in done.stdout + done.stderr
    assert holding(tmp_path, CANARY) == {"home/.git/config"}
