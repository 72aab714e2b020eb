import sqlite3
from contextlib import closing

import pytest

from tasks.databases import is_damaged


@pytest.fixture
def database(tmp_path):
    path = tmp_path / "a.db"
    with closing(sqlite3.connect(path)) as opened, opened:
        opened.execute("CREATE TABLE a (b TEXT)")
        opened.executemany("INSERT INTO a VALUES (?)", [["x" * 1000]] * 50)
    return path


def test_a_whole_one_an_empty_one_and_none_are_not_damaged(database, tmp_path):
    (tmp_path / "empty.db").touch()
    assert not is_damaged(database)
    assert not is_damaged(tmp_path / "empty.db")
    assert not is_damaged(tmp_path / "none.db")
    assert not (tmp_path / "none.db").exists()


def test_one_that_is_in_use_is_not_damaged(database):
    with closing(sqlite3.connect(database)) as opened:
        opened.execute("BEGIN EXCLUSIVE")
        assert not is_damaged(database)


@pytest.mark.parametrize("how", [lambda b: b[: len(b) // 2], lambda b: b"text" * 1000, lambda b: b[::-1]])
def test_one_that_was_cut_off_or_is_something_else_is_damaged(database, how):
    database.write_bytes(how(database.read_bytes()))
    assert is_damaged(database)
