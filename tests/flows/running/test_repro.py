import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from flows.running.repro import only_run

ROOT = Path(__file__).resolve().parents[3]

HOLD = """
import sys
from pathlib import Path
from flows.running.repro import only_run
with only_run(Path(sys.argv[1])) as record:
    record.note(sys.argv[2])
    print("held", flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def holder(tmp_path):
    """Another process that holds the folder."""
    command = [sys.executable, "-c", HOLD, str(tmp_path), "123-abc"]
    with subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout.readline() == b"held\n"
        yield process
        process.kill()


def test_a_second_run_is_refused_and_names_the_first_and_what_to_do(holder, tmp_path):
    said = r"another `make repro` \(process 123, since [\d:]+\) runs in .*; wait .* end it with `kill 123`"
    with pytest.raises(BlockingIOError, match=said), only_run(tmp_path):
        pass
    # The first one's record is not touched.
    assert (tmp_path / ".prefect/running").read_text() == "123-abc"


def test_a_run_that_has_not_said_its_name_yet_refuses_too(tmp_path):
    with only_run(tmp_path), pytest.raises(BlockingIOError, match="just starting"), only_run(tmp_path):
        pass


def test_a_killed_run_lets_go_and_leaves_its_name(holder, tmp_path):
    os.kill(holder.pid, signal.SIGKILL)
    holder.wait()
    with only_run(tmp_path) as record:
        assert record.name == "123-abc"
        record.note("456-def")
    with only_run(tmp_path) as record:
        assert record.name is None


def test_a_run_that_fails_lets_go_and_leaves_no_name(tmp_path):
    def fail():
        with only_run(tmp_path) as record:
            record.note("1-a")
            raise ValueError("bad row")

    with pytest.raises(ValueError, match="bad row"):
        fail()
    with only_run(tmp_path) as record:
        assert record.name is None


def test_a_folder_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / ".prefect").write_text("a file")
    with pytest.raises(OSError, match=r"cannot write .*\.prefect: .*make it writable"), only_run(tmp_path):
        pass


@pytest.fixture
def repository(tmp_path):
    root = tmp_path / "repository"
    for name in ("data", "reports", ".git"):
        (root / name).mkdir(parents=True)
    subprocess.run([sys.executable, "-m", "dvc", "init", "-q", "--no-scm"], cwd=root, check=True)
    (root / ".dvc" / "config").write_text("")
    return root


@pytest.mark.parametrize("name", ["data", "reports"])
def test_results_behind_a_link_that_leads_out_are_refused_with_the_cure(repository, tmp_path, name):
    from flows.running.repro import check_repository

    check_repository(repository)
    (repository / name).rename(tmp_path / "disk")
    (repository / name).symlink_to(tmp_path / "disk")
    with pytest.raises(NotADirectoryError, match=f"{name} is a link to {tmp_path}/disk, .*avss run --output"):
        check_repository(repository)


def test_a_folder_without_git_is_refused_with_the_cure_which_helps(repository):
    from flows.running.repro import check_repository

    (repository / ".git").rmdir()
    with pytest.raises(NotADirectoryError, match="is not a git repository") as refused:
        check_repository(repository)
    _, command, *_ = [part for part in str(refused.value).split("`") if part.startswith(("git", "dvc"))]
    subprocess.run([sys.executable, "-m", *command.split()], cwd=repository, check=True)
    check_repository(repository)


def test_a_folder_inside_of_a_git_repository_is_one(repository):
    from flows.running.repro import check_repository

    (repository / ".git").rename(repository.parent / ".git")
    check_repository(repository)
