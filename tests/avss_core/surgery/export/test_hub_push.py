import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from huggingface_hub import HfApi, constants

from avss_core.files.digests import digest_path
from avss_core.surgery.export.hub_card import Licence
from avss_core.surgery.export.hub_push import plan_push, push
from tests.local_hub import serve

# Its library sends a file in a way that its own transport calls deprecated.
pytestmark = pytest.mark.filterwarnings("ignore:Use 'content=<...>':DeprecationWarning")

TOKEN = "hf_" + "t" * 30
MIT = Licence("mit")


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
    with serve(tmp_path) as server:
        server.token = TOKEN
        yield server


def api_of(hub: Any, token: str = TOKEN) -> HfApi:
    return HfApi(endpoint=hub.address, token=token)


def test_a_checkpoint_arrives_whole_and_nothing_else_does(hub: Any, checkpoint: Path) -> None:
    for name in (".env", "notes.txt", "events.out", "optimizer.pt"):
        (checkpoint / name).write_text("mine")
    (checkpoint / "runs").mkdir()
    (checkpoint / "runs" / "model.safetensors").write_text("mine")
    api = api_of(hub)
    plan = plan_push(checkpoint, "me/small", api=api, licence=MIT, base_model="owner/base")
    assert plan.left_out == [".env", "events.out", "notes.txt", "optimizer.pt", "runs/model.safetensors"]
    assert hub.asked == []
    url = push(plan, api=api, private=True)
    assert url == f"{hub.address}/me/small/commit/{'d' * 40}"
    assert hub.made == {"me/small": True}
    there = hub.folder / "me" / "small"
    assert {path.name for path in there.rglob("*")} == plan.files.keys()
    for name in plan.files.keys() - {"README.md"}:
        assert digest_path(there / name) == digest_path(checkpoint / name)
    assert "license: mit\n" in (there / "README.md").read_text()
    assert not (checkpoint / "README.md").exists()


def test_a_branch_is_made_and_written_to(hub: Any, checkpoint: Path) -> None:
    plan = plan_push(checkpoint, "me/small", api=api_of(hub), licence=MIT)
    push(plan, api=api_of(hub), revision="smaller")
    assert hub.branches == ["smaller"]
    assert "api/models/me/small/commit/smaller" in hub.asked


def test_the_licence_is_that_of_the_card_else_of_the_base_model_else_it_must_be_named(
    hub: Any, checkpoint: Path
) -> None:
    api = api_of(hub)
    with pytest.raises(ValueError, match=r"the licence of owner/base is not known.*--license apache-2.0"):
        plan_push(checkpoint, "me/small", api=api, base_model="owner/base")
    hub.cards["owner/base"] = {"license": "other", "license_name": "gemma"}
    plan = plan_push(checkpoint, "me/small", api=api, base_model="owner/base")
    assert "license: other\n" in plan.card
    assert "license_name: gemma\n" in plan.card
    (checkpoint / "README.md").write_text("---\nlicense: bsd\nbase_model: owner/base\n---\n# Mine\n")
    plan = plan_push(checkpoint, "me/small", api=api)
    assert "license: bsd\n" in plan.card
    assert "base_model: owner/base\n" in plan.card
    assert "base_model_relation: finetune\n" in plan.card


def test_paths_of_this_machine_stay_here(hub: Any, checkpoint: Path) -> None:
    place = str(checkpoint.parent / "secret-place" / "dense")
    recorded = {"layer_map": [0], "provenance": {"model": place}, "parameters": 1, "dtype": "float32",
                "way": "written from memory", "checks": []}  # fmt: skip
    (checkpoint / "certificate.json").write_text(json.dumps(recorded))
    (checkpoint / "mergekit.yaml").write_text(f'- model: "{place}"\n')
    push(plan_push(checkpoint, "me/small", api=api_of(hub), licence=MIT), api=api_of(hub))
    there = hub.folder / "me" / "small"
    assert json.loads((there / "certificate.json").read_text())["provenance"]["model"] == "dense"
    assert (there / "mergekit.yaml").read_text() == '- model: "dense"\n'
    assert all(b"secret-place" not in path.read_bytes() for path in there.rglob("*"))


def test_a_token_that_may_not_write_is_told_and_never_shown(hub: Any, checkpoint: Path) -> None:
    wrong = "hf_" + "w" * 30
    plan = plan_push(checkpoint, "me/small", api=api_of(hub), licence=MIT)
    with pytest.raises(PermissionError, match=r"nothing be written to me/small \(401\): log in") as told:
        push(plan, api=api_of(hub, wrong))
    assert wrong not in str(told.value)
    assert not (hub.folder / "me").exists()


def test_a_hub_that_does_not_answer_is_told(hub: Any, checkpoint: Path) -> None:
    api = HfApi(endpoint="http://127.0.0.1:9", token=TOKEN)
    plan = plan_push(checkpoint, "me/small", api=api, licence=MIT)
    with pytest.raises(OSError, match="cannot upload to me/small: "):
        push(plan, api=api)


def test_a_file_that_does_not_arrive_is_told_and_nothing_is_committed(hub: Any, checkpoint: Path) -> None:
    hub.lost = "all"
    plan = plan_push(checkpoint, "me/small", api=api_of(hub), licence=MIT)
    with pytest.raises(OSError, match=r"cannot upload to me/small: .*400.* in one commit at the end"):
        push(plan, api=api_of(hub))
    assert not (hub.folder / "me").exists()


@pytest.mark.parametrize("name", ["small", "a/b/c", "me/", "me/two words"])
def test_a_name_of_no_repository_is_refused(checkpoint: Path, name: str) -> None:
    with pytest.raises(ValueError, match="names no repository of the Hub: give OWNER/NAME"):
        plan_push(checkpoint, name, api=HfApi(), licence=MIT)


def test_a_folder_without_a_checkpoint_is_refused(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="cannot load"):
        plan_push(tmp_path, "me/small", api=HfApi(), licence=MIT)


def test_a_link_out_of_the_folder_is_not_followed(checkpoint: Path, tmp_path: Path) -> None:
    (tmp_path / "private.txt").write_text("mine")
    (checkpoint / "LICENSE").symlink_to(tmp_path / "private.txt")
    with pytest.raises(ValueError, match="is a link that leads out of"):
        plan_push(checkpoint, "me/small", api=HfApi(), licence=MIT)
