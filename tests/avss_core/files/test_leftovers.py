import os
import subprocess
import sys

from avss_core.files.leftovers import part_folder, part_name, sweep


def gone() -> int:
    """Return the number of a process that has ended."""
    process = subprocess.Popen([sys.executable, "-S", "-c", ""])
    process.wait()
    return process.pid


def test_what_a_process_that_is_gone_left_half_written_is_removed_however_deep(tmp_path):
    pid = gone()
    file = tmp_path / "deep" / f".scores.json.{pid}.part"
    folder = tmp_path / f".pruned.{pid}-a1b2.part"
    inside = folder / f".config.json.{pid}.part"
    for path in (file, inside):
        path.parent.mkdir(parents=True)
        path.write_text("{")
    assert set(sweep(tmp_path)) == {file, folder, inside}
    assert [path.name for path in tmp_path.rglob("*")] == ["deep"]


def test_what_was_to_become_the_folder_itself_is_removed_beside_it_and_what_was_to_be_another_is_not(
    tmp_path,
):
    pid = gone()
    reports, other = tmp_path / f".reports.{pid}-a1b2.part", tmp_path / f".reports2.{pid}-a1b2.part"
    for path in (reports, other):
        (path / "figures").mkdir(parents=True)
    assert sweep(tmp_path / "reports") == [reports]
    assert [path.name for path in tmp_path.iterdir()] == [other.name]


def test_what_a_process_still_writes_stays(tmp_path):
    (tmp_path / part_name("scores.json")).write_text("{")
    folder = part_folder(tmp_path / "pruned")
    with subprocess.Popen([sys.executable, "-S", "-c", "input()"], stdin=subprocess.PIPE) as other:
        (tmp_path / f".sizes.json.{other.pid}.part").write_text("{")
        assert sweep(tmp_path) == []
        other.communicate(b"\n")
    assert folder.is_dir()
    assert [path.name for path in sweep(tmp_path)] == [f".sizes.json.{other.pid}.part"]


def test_no_other_file_is_taken_for_a_leftover(tmp_path):
    for name in ("scores.json", ".hidden", f"scores.json.{gone()}.part", ".part", ".a.part", ".a.b.part"):
        (tmp_path / name).write_text("")
    assert sweep(tmp_path, tmp_path / "not there") == []


def test_a_name_tells_its_process(tmp_path):
    assert part_name("a.json") == f".a.json.{os.getpid()}.part"
    assert part_folder(tmp_path / "dense").name.startswith(f".dense.{os.getpid()}-")
