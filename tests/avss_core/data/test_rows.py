from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from avss_core.data.rows import read_prepared, row_shards, write_rows

ROWS = [{"id": str(number), "text": "a line\u2028separator\nof a kind"} for number in range(7)]


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("rows") / "rows.jsonl"
    write_rows(path, ROWS)
    return path


@given(limit=st.none() | st.integers(1, 10), size=st.integers(1, 10))
def test_shards_are_the_first_rows_each_once_and_in_order(path: Path, limit: int | None, size: int) -> None:
    shards = row_shards(path, limit, size)
    assert [row for shard in shards for row in read_prepared(path, **shard)] == ROWS[:limit]
    assert all(shard["last"] - shard["first"] == size for shard in shards[:-1])
    assert 0 < shards[-1]["last"] - shards[-1]["first"] <= size


def test_a_file_without_rows_is_one_empty_shard(tmp_path: Path) -> None:
    write_rows(tmp_path / "rows.jsonl", [])
    assert row_shards(tmp_path / "rows.jsonl", None, 3) == [{"first": 0, "last": 0}]
