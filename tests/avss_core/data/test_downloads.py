"""A model of the Hub, from a server on this machine."""

import json
import re

import pytest

from avss_core.files.digests import digest_path
from avss_core.models.loading import load_model

PREPARE = """
import sys
from pathlib import Path
from avss_core.cli.errors import readable_errors
import huggingface_hub.file_download
huggingface_hub.file_download.time.sleep = lambda _seconds: None  # before it tries again
from avss_core.display import lines as progress_lines
progress_lines.QUIET = progress_lines.OFTEN = 0.0
with readable_errors():
    from avss_core.jobs.preparation import prepare_model
    prepare_model(sys.argv[1], sys.argv[2] or None, dtype="float32", folder=Path(sys.argv[3]))
"""
SHARDS = [f"model-0000{number}-of-00003.safetensors" for number in (1, 2, 3)]


@pytest.fixture
def published(local_hub, tiny, tokenizer):
    """The folder of a model in three files at the local Hub, 2.4 MB in all."""
    folder = local_hub.folder / "owner" / "tiny"
    tiny("llama", hidden_size=96, intermediate_size=256).save_pretrained(folder, max_shard_size="1MB")
    tokenizer.save_pretrained(folder)
    assert sorted(path.name for path in folder.glob("*.safetensors")) == SHARDS
    return folder


def test_a_model_is_fetched_once_with_a_bar_and_is_the_one_that_was_published(
    published, local_hub, run, tmp_path
):
    commit = "c" * 40
    for attempt, said in ((1, True), (2, False)):
        made = tmp_path / f"dense-{attempt}"
        finished = run(PREPARE, "owner/tiny", commit, str(made), **local_hub.environment)
        assert finished.returncode == 0, finished.stderr
        assert ("fetching owner/tiny: " in finished.stderr) == said
        weights, expected = (load_model(str(place)).state_dict() for place in (made, published))
        assert all(weights[name].equal(tensor) for name, tensor in expected.items())
    assert sorted(name for name in local_hub.fetched if name.endswith(".safetensors")) == SHARDS
    assert {path.split("/")[3] for path in local_hub.asked if path.endswith(".safetensors")} == {commit}


def test_a_model_that_would_be_refused_is_not_fetched(published, local_hub, run, tmp_path):
    config = json.loads((published / "config.json").read_text())
    (published / "config.json").write_text(json.dumps(config | {"auto_map": {"AutoModel": "evil.Model"}}))
    finished = run(PREPARE, "owner/tiny", "", str(tmp_path / "dense"), **local_hub.environment)
    assert finished.returncode == 1
    assert "owner/tiny needs remote code" in finished.stderr.splitlines()[-1]
    assert not [name for name in local_hub.fetched if name.endswith((".safetensors", ".py"))]


def test_a_download_that_breaks_off_is_told_in_one_line_and_goes_on_later(
    published, local_hub, run, tmp_path
):
    local_hub.lost = SHARDS[1]
    finished = run(PREPARE, "owner/tiny", "", str(tmp_path / "dense"), **local_hub.environment)
    assert finished.returncode == 1
    assert "Traceback" not in finished.stderr
    last = finished.stderr.splitlines()[-1]
    assert re.match("error: cannot load owner/tiny: peer closed connection .*Give a checkpoint folder", last)
    assert not (tmp_path / "dense").exists()
    local_hub.lost, local_hub.fetched[:] = None, []
    finished = run(PREPARE, "owner/tiny", "", str(tmp_path / "dense"), **local_hub.environment)
    assert finished.returncode == 0, finished.stderr
    assert [name for name in local_hub.fetched if name.endswith(".safetensors")] == SHARDS[1:]
    assert digest_path(tmp_path / "dense" / "tokenizer.json") == digest_path(published / "tokenizer.json")
