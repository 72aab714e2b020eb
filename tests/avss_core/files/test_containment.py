import subprocess
import sys
from pathlib import Path

import pytest

from avss_core.files.containment import inside, links_out, refuse_links


@pytest.mark.parametrize("name", ["a", "a/b.txt", "my set/b", ".hidden", "..a", "ä.txt"])
def test_a_name_below_a_folder_is_its_path(tmp_path: Path, name: str) -> None:
    assert inside(tmp_path, name) == tmp_path / name


@pytest.mark.parametrize(
    "name", ["", ".", "..", "../a", "a/../../b", "a/..", "/etc/passwd", "..\\a", "a\0", "a\n"]
)
def test_a_name_that_leads_elsewhere_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(ValueError, match="does not name a file below"):
        inside(tmp_path, name)


@pytest.fixture
def secret(tmp_path: Path) -> Path:
    path = tmp_path / "secret" / "key"
    path.parent.mkdir()
    path.write_text("key")
    return path


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    path = tmp_path / "folder"
    path.mkdir()
    return path


def test_a_link_out_of_the_folder_is_refused_and_named(folder: Path, secret: Path) -> None:
    (folder / "a.jsonl").symlink_to(secret)
    (folder / "below").mkdir()
    (folder / "below" / "set").symlink_to(secret.parent)
    with pytest.raises(
        ValueError, match=f"{folder}/a.jsonl is a link that leads out of {folder}, to {secret}"
    ):
        inside(folder, "a.jsonl")
    with pytest.raises(ValueError, match="is a link"):
        inside(folder, "below/set/key")
    assert list(links_out(folder)) == [folder / "a.jsonl", folder / "below" / "set"]
    with pytest.raises(ValueError, match=r"a\.jsonl is a link"):
        refuse_links(folder)


def test_a_link_that_stays_is_followed_and_so_is_one_to_the_folder_itself(
    folder: Path, tmp_path: Path
) -> None:
    (folder / "a").write_text("text")
    (folder / "b").symlink_to(folder / "a")
    (tmp_path / "door").symlink_to(folder)
    refuse_links(tmp_path / "door")
    assert inside(tmp_path / "door", "b").read_text() == "text"


def test_a_link_into_a_folder_of_a_similar_name_leads_out(folder: Path, tmp_path: Path) -> None:
    twin = tmp_path / "folder2"
    twin.mkdir()
    (folder / "a").symlink_to(twin)
    assert list(links_out(folder)) == [folder / "a"]


def test_the_caches_of_the_hub_and_of_dvc_are_followed(tmp_path: Path) -> None:
    model = tmp_path / "models--org--name"
    stores = {
        model / "snapshots" / "0a1b": model / "blobs",
        tmp_path / "repository" / "data" / "dense": tmp_path / "repository" / ".dvc" / "cache",
    }
    for folder, store in stores.items():
        folder.mkdir(parents=True)
        (store / "ab").mkdir(parents=True)
        (store / "ab" / "cdef").write_text("tensors")
        (folder / "model.safetensors").symlink_to(store / "ab" / "cdef")
        refuse_links(folder)
        assert inside(folder, "model.safetensors").read_text() == "tensors"


def test_the_store_of_another_model_is_not_that_of_this_one(tmp_path: Path) -> None:
    other = tmp_path / "models--other" / "blobs"
    folder = tmp_path / "models--org--name" / "snapshots" / "0a1b"
    for path in (other, folder):
        path.mkdir(parents=True)
    (folder / "model.safetensors").symlink_to(other)
    with pytest.raises(ValueError, match="is a link that leads out"):
        refuse_links(folder)


OBJECT = "files/md5/ab/" + 30 * "c"


@pytest.mark.parametrize("linked", [False, True], ids=["shared cache", "linked cache"])
def test_objects_of_a_dvc_cache_elsewhere_are_followed_from_a_repository(
    tmp_path: Path, linked: bool
) -> None:
    (item := tmp_path / "big disk" / "cache" / OBJECT).parent.mkdir(parents=True)
    item.write_text("tensors")
    repository = tmp_path / "repository"
    (folder := repository / "data" / "dense").mkdir(parents=True)
    if linked:
        (repository / ".dvc").mkdir()
        (repository / ".dvc" / "cache").symlink_to(tmp_path / "big disk" / "cache")
        (folder / "model.safetensors").symlink_to(repository / ".dvc" / "cache" / OBJECT)
    else:
        (folder / "model.safetensors").symlink_to(item)
        with pytest.raises(ValueError, match="leads out"):
            refuse_links(folder)  # no repository of DVC
        (repository / ".dvc").mkdir()
    refuse_links(folder)
    assert inside(folder, "model.safetensors").read_text() == "tensors"


@pytest.mark.parametrize(
    "target", ["secret/key", f"{OBJECT}/key", f"{OBJECT}.txt", "files/md5/ab", OBJECT.upper(), OBJECT + "c"]
)
def test_other_links_out_are_refused_in_a_repository_too(tmp_path: Path, target: str) -> None:
    (tmp_path / target).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / target).touch()
    (tmp_path / "repository" / ".dvc").mkdir(parents=True)
    (folder := tmp_path / "repository" / "download").mkdir()
    (folder / "config.json").symlink_to(tmp_path / target)
    with pytest.raises(ValueError, match="leads out"):
        refuse_links(folder)


def test_what_dvc_itself_links_is_followed(tmp_path: Path) -> None:
    dvc = [sys.executable, "-m", "dvc"]
    repository = tmp_path / "repository"
    (repository / "data").mkdir(parents=True)
    (repository / "data" / "config.json").write_text("{}")
    for arguments in (
        ["init", "--no-scm", "-q"],
        ["cache", "dir", str(tmp_path / "shared")],
        ["config", "cache.type", "symlink"],
        ["add", "-q", "data"],
    ):
        subprocess.run([*dvc, *arguments], cwd=repository, check=True, capture_output=True)
    assert (repository / "data" / "config.json").is_symlink()
    refuse_links(repository / "data")
    assert inside(repository / "data", "config.json").read_text() == "{}"
