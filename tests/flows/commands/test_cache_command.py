"""`avss cache` on results of two units, one of them broken."""

import json

import pytest
from typer.testing import CliRunner


@pytest.fixture
def folder(tmp_path):
    """A folder of results: two of `sentiment`, of which one is outdated, and a broken one of `divergence`."""
    from prefect.results import ResultRecord, ResultRecordMetadata
    from prefect.settings import PREFECT_LOCAL_STORAGE_PATH, temporary_settings

    from avss_core.caching.fingerprints import fingerprint
    from avss_core.caching.unit import entry_name
    from tasks.cache.stored_results import CheckedJSON

    code = fingerprint("avss_core.jobs.evaluation.reviews")
    for unit, digit, made_by in (
        ("sentiment", "a", code),
        ("sentiment", "b", "0" * 64),
        ("divergence", "c", code),
    ):
        path = tmp_path / entry_name(unit, digit * 64, made_by)
        metadata = ResultRecordMetadata(serializer=CheckedJSON(), storage_key=str(path))
        path.write_bytes(ResultRecord(metadata=metadata, result=[0.5]).serialize())
        if digit == "c":
            path.write_text(path.read_text().replace("0.5", "0.6"))
    with temporary_settings({PREFECT_LOCAL_STORAGE_PATH: tmp_path}):
        yield tmp_path


@pytest.fixture
def avss(folder):
    """Run `avss cache` with arguments."""
    from avss_core.cli.app import made

    def run(*arguments, **options):
        return CliRunner().invoke(made(), ["cache", *arguments], **options)

    return run


def test_ls_in_json_is_exact(avss, folder):
    record = json.loads(avss("ls", "--json").stdout)
    assert record["folder"] == str(folder)
    sizes = {path.name.rpartition("-")[2]: path.stat().st_size for path in folder.iterdir()}
    broken, current, outdated = record["entries"]
    assert {entry["key"]: entry["bytes"] for entry in record["entries"]} == sizes
    assert all(0 <= entry["age"] < 600 for entry in record["entries"])
    assert (broken["unit"], broken["state"]) == ("divergence", "broken")
    assert broken["problem"] == "its content does not have the checksum that it was written with"
    assert (current["unit"], current["state"]) == ("sentiment", "current")
    assert (outdated["unit"], outdated["state"]) == ("sentiment", "outdated")
    assert record["units"] == {
        "divergence": {"entries": 1, "bytes": broken["bytes"], "outdated": 0, "broken": 1},
        "sentiment": {
            "entries": 2,
            "bytes": current["bytes"] + outdated["bytes"],
            "outdated": 1,
            "broken": 0,
        },
    }


def test_ls_in_a_pipe_has_a_line_for_each_result_and_totals_beside(avss):
    done = avss("ls")
    lines = done.stdout.splitlines()
    assert lines[0].split("\t") == ["unit", "key", "bytes", "age", "state", "problem"]
    assert len(lines) == 4
    assert "divergence: 1 entries, 0.0 MB (1 broken)\n" in done.stderr
    assert "sentiment: 2 entries, 0.0 MB (1 outdated)\n" in done.stderr


def test_verify_names_what_is_broken_and_fails(avss):
    done = avss("verify", "--json")
    assert isinstance(done.exception, ValueError)
    assert str(done.exception).startswith("1 of 3 results are broken; ")
    record = json.loads(done.stdout)
    assert record["entries"] == 3
    assert [entry["unit"] for entry in record["broken"]] == ["divergence"]
    assert avss("rm", "--broken").exit_code == 0
    done = avss("verify")
    assert done.exit_code == 0
    assert done.stderr == "2 results, all as they were written\n"


@pytest.mark.parametrize(
    ("arguments", "left"),
    [
        (["sentiment"], "c"),
        (["aaa", "ccc"], "b"),
        (["--broken"], "ab"),
        (["--outdated"], "ac"),
        (["--broken", "--outdated"], "a"),
        (["--all", "--yes"], ""),
    ],
)
def test_rm_removes_what_is_asked_for(avss, folder, arguments, left):
    record = json.loads(avss("rm", *arguments, "--json").stdout)
    assert "".join(sorted(path.name.rpartition("-")[2][0] for path in folder.iterdir())) == left
    assert record["removed"] == len(record["entries"]) == 3 - len(left)
    assert record["bytes"] == sum(entry["bytes"] for entry in record["entries"])


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "say what to remove"),
        (["--all", "--broken"], "say what to remove"),
        (["answer-set"], "no entry has the unit or the key answer-set"),
        (["--older-than", "30d"], "nothing in .* matches"),
        (["--older-than", "thirty"], "'thirty' is not a time"),
        (["--all"], "--all would remove 3 results; give --yes"),
    ],
)
def test_rm_refuses_and_removes_nothing(avss, folder, arguments, said):
    done = avss("rm", *arguments)
    assert isinstance(done.exception, ValueError | LookupError)
    with pytest.raises(type(done.exception), match=said):
        raise done.exception
    assert len(list(folder.iterdir())) == 3


@pytest.mark.parametrize(("answer", "left"), [("n\n", 3), ("y\n", 0)])
def test_rm_of_all_asks_at_a_terminal(avss, folder, monkeypatch, answer, left):
    from flows.commands import cache_command as cache_commands

    monkeypatch.setattr(cache_commands, "_at_terminal", lambda: True)
    done = avss("rm", "--all", input=answer)
    assert "Remove all 3 results in" in done.stderr
    assert len(list(folder.iterdir())) == left
