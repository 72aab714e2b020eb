"""Which parts of the data belong to which kind, and what is known of each."""

import hashlib
import json

import pytest

from avss_core.data.lineage import ALL, data_parts
from avss_core.data.rows import write_rows
from avss_core.files.writing import write_json


@pytest.fixture
def prepared(tmp_path):
    rows = {"train": 3, "test": 2, "validation": 0}
    for split, count in rows.items():
        write_rows(tmp_path / "nq" / f"{split}.jsonl", [{"id": str(n)} for n in range(count)])
    write_rows(tmp_path / "sst2" / "train.jsonl", [{"id": "r", "text": "a\u2028b"}])
    write_json(tmp_path / "text" / "test.json", ["one", "two"])
    origin = {"questions": "hub", "sentiment": "sample", "text": "hub: pile"}
    write_json(tmp_path / "manifest.json", {"origin": origin})
    return tmp_path


def test_each_kind_is_found_with_its_count_digest_and_origin(prepared):
    found = {part.name: part for part in data_parts(prepared, ALL)}
    assert {name: (part.split, part.count, part.origin) for name, part in found.items()} == {
        "nq/train": ("train", 3, "hub"),
        "nq/test": ("test", 2, "hub"),
        "sst2/train": ("train", 1, "sample"),
        "text/test": ("test", 2, "hub: pile"),
    }
    path = prepared / "nq" / "train.jsonl"
    assert found["nq/train"].digest == hashlib.sha256(path.read_bytes()).hexdigest()
    assert found["nq/train"].path == str(path)


def test_only_what_was_asked_for_is_found(prepared):
    assert [part.name for part in data_parts(prepared, ["questions/test", "text/test"])] == [
        "nq/test",
        "text/test",
    ]


def test_a_stage_without_data_needs_no_manifest(tmp_path):
    assert data_parts(tmp_path, []) == []


def test_a_changed_row_is_another_digest(prepared):
    before = data_parts(prepared, ["questions/train"])[0].digest
    path = prepared / "nq" / "train.jsonl"
    path.write_text(path.read_text().replace('"2"', '"3"'))
    assert [json.loads(line)["id"] for line in path.read_text().splitlines()] == ["0", "1", "3"]
    assert data_parts(prepared, ["questions/train"])[0].digest != before
