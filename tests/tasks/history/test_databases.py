import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from sqlalchemy import make_url

from tasks.history.databases import database_url, is_damaged


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


def test_a_write_ahead_log_does_not_hide_that_pages_are_gone(tmp_path):
    source, copy = tmp_path / "source.db", tmp_path / "copy.db"
    with closing(sqlite3.connect(source)) as opened:
        opened.execute("PRAGMA journal_mode = WAL")
        opened.execute("CREATE TABLE rows (text)")
        opened.executemany("INSERT INTO rows VALUES (?)", [("x" * 2000,)] * 50)
        opened.commit()
        opened.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        opened.execute("CREATE TABLE more (text)")  # page 1 stands in the log from here on
        opened.commit()
        log = Path(f"{source}-wal").read_bytes()
    whole = source.read_bytes()
    for kept, damaged in ((whole, False), (whole[: len(whole) // 2], True)):
        copy.write_bytes(kept)
        Path(f"{copy}-wal").write_bytes(log)
        assert is_damaged(copy) is damaged


@pytest.mark.parametrize("how", [lambda b: b[: len(b) // 2], lambda b: b"text" * 1000, lambda b: b[::-1]])
def test_one_that_was_cut_off_or_is_something_else_is_damaged(database, how):
    database.write_bytes(how(database.read_bytes()))
    assert is_damaged(database)


@pytest.mark.parametrize("driver", ["sqlite", "sqlite+aiosqlite"])
@pytest.mark.parametrize(
    "name",
    ["a b", "a%20b", "a%b", "a?b=c", "a#b", "a&b", "a+b", "a'b", 'a"b', "ä", "[a]", "a:b", "a@b", "a\\b"],
)
def test_an_address_names_the_file_of_any_path(tmp_path, name, driver):
    path = tmp_path / name / "a.db"
    url = make_url(database_url(path, driver))
    assert (url.drivername, url.database, url.query) == (driver, str(path), {})


@pytest.mark.parametrize("name", ["feature%2Fb", "what?"])
def test_the_history_of_a_folder_with_signs_of_an_address_lies_in_it(tmp_path, monkeypatch, name):
    from tasks.history.run_store import open_store

    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    client, experiment = open_store(tmp_path / name)
    run = client.create_run(experiment).info.run_id
    client.log_text(run, "text", "a.txt")
    assert (tmp_path / name / "mlartifacts" / run / "artifacts" / "a.txt").read_text() == "text"
    assert (tmp_path / name / "mlflow.db").is_file()
    assert [path.name for path in tmp_path.iterdir()] == [name]
