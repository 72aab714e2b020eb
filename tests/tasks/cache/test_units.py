import json
import os
from pathlib import Path
from types import SimpleNamespace

import pytest

from avss_core.caching.content import content_digest
from avss_core.caching.fingerprints import fingerprint
from tasks.cache.units import content_key, unit


def _context(module: str = "avss_core.jobs.evaluation.reviews", name: str = "answer-set"):
    return SimpleNamespace(task=SimpleNamespace(name=name, fn=SimpleNamespace(__module__=module)))


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "rows.jsonl"
    path.write_text("one")
    return path


def test_the_key_follows_content_not_the_path(file, tmp_path):
    twin = tmp_path / "elsewhere.jsonl"
    twin.write_text("one")
    other = tmp_path / "other.jsonl"
    other.write_text("two")
    key = content_key(_context(), {"questions": file, "shots": 5})
    assert key == content_key(_context(), {"questions": twin, "shots": 5})
    assert key != content_key(_context(), {"questions": other, "shots": 5})


def test_the_key_follows_every_parameter_and_the_unit(file):
    keys = {
        content_key(_context(), {"questions": file, "shots": 5}),
        content_key(_context(), {"questions": file, "shots": 4}),
        content_key(_context(), {"questions": [file], "shots": 5}),
        content_key(_context(name="sentiment"), {"questions": file, "shots": 5}),
        content_key(_context(module="tasks.score"), {"questions": file, "shots": 5}),
    }
    assert len(keys) == 5


def test_what_a_unit_is_said_to_do_is_not_in_the_key(file):
    asked = {"questions": file, "shots": 5}
    assert content_key(_context(), asked | {"said": "cost of avss"}) == content_key(_context(), asked)


def test_an_edit_under_the_same_path_changes_the_digest(file):
    before = content_digest(file)
    stamp = file.stat()
    file.write_text("two")
    os.utime(file, ns=(stamp.st_atime_ns, stamp.st_mtime_ns + 1))
    assert content_digest(file) != before


def test_a_folder_counts_with_names_and_contents(tmp_path):
    (tmp_path / "a").write_text("1")
    before = content_digest(tmp_path)
    (tmp_path / "a").rename(tmp_path / "b")
    assert content_digest(tmp_path) != before


def test_a_missing_input_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match="absent"):
        content_key(_context(), {"model": tmp_path / "absent.jsonl"})


def test_the_set_that_a_file_belongs_to_and_its_kind_are_in_the_key(file, tmp_path):
    """The default judge is that of the set, and a file of documents is read otherwise than one of rows."""
    other, kind = tmp_path / "wikiqa" / "rows.jsonl", tmp_path / "rows.json"
    other.parent.mkdir()
    for path in (other, kind):
        path.write_text("one")
    assert len({content_key(_context(), {"questions": path}) for path in (file, other, kind)}) == 3


def test_an_edit_that_keeps_size_and_time_of_change_is_seen(file):
    before, stamp = content_digest(file), file.stat()
    file.write_text("two")
    os.utime(file, ns=(stamp.st_atime_ns, stamp.st_mtime_ns))
    assert content_digest(file) != before


def test_the_key_ends_with_the_fingerprint_of_the_code(file):
    key = content_key(_context(), {"questions": file})
    assert key.endswith(fingerprint("avss_core.jobs.evaluation.reviews")[:16])
    assert key.partition("answer-set-")[2][:48] != fingerprint("avss_core.jobs.evaluation.reviews")[:48]


def test_a_unit_made_inside_of_a_function_is_refused():
    with pytest.raises(TypeError, match="the unit inner is made inside of a function"):

        @unit("inner")
        def inner():
            return file


def test_another_process_finds_a_unit_by_its_name_and_gets_none_of_its_module():
    import pickle

    from avss_core.jobs.removal.losses import removal_loss

    # Dask and Ray send functions by pickle, between processes of one run; nothing is kept that way.
    sent = pickle.dumps(removal_loss.fn)  # whose module holds a lock, which cannot be sent
    assert pickle.loads(sent) is removal_loss.fn
    assert len(sent) < 100


PLANTED = {
    "tasks/planted_choices.py": """
from avss_core.metrics.agreement import overlap
from tasks.cache.units import unit

@unit("planted-choices")
def both(first: list[int], second: list[int]) -> list[int]:
    print("planted-choices ran")
    return overlap(first, second).shared
""",
    "tasks/planted_ranks.py": """
from avss_core.scores.ranking import kendall_tau
from tasks.cache.units import unit

@unit("planted-ranks")
def tau(first: list[float], second: list[float]) -> float:
    print("planted-ranks ran")
    return kendall_tau(first, second)
""",
}

RUN_UNITS = """
from tasks.planted_choices import both
from tasks.planted_ranks import tau

print(both([1, 2, 3], [3, 2, 4]), tau([1.0, 2.0, 3.0], [1.0, 2.0, 4.0]))
"""

RUN_THREE_TIMES = """
import json, os, pathlib, subprocess, sys
from prefect.settings import PREFECT_API_URL
from prefect.testing.utilities import prefect_test_harness

file, old, new, code = sys.argv[1:]
results = str(pathlib.Path("results").resolve())
said = []
with prefect_test_harness(server_startup_timeout=300):
    known = os.environ | {"PREFECT_API_URL": PREFECT_API_URL.value(), "PREFECT_LOCAL_STORAGE_PATH": results}
    for turn in range(3):
        if turn == 2:
            path = pathlib.Path(file)
            text = path.read_text(encoding="utf-8")
            assert text.count(old) == 1
            path.write_text(text.replace(old, new), encoding="utf-8")
        said.append(subprocess.check_output([sys.executable, "-c", code], env=known, text=True).splitlines())
print(json.dumps(said))
"""


def test_after_an_edit_only_the_unit_whose_module_imports_it_runs_again(tree, python_in):
    for name, text in PLANTED.items():
        (tree / name).write_text(text, encoding="utf-8")
    edit = ("avss_core/metrics/agreement.py", "sorted(one & other)", "sorted(one & other, reverse=True)")
    first, second, edited = json.loads(python_in("-c", RUN_THREE_TIMES, *edit, RUN_UNITS).splitlines()[-1])
    assert first == ["planted-choices ran", "planted-ranks ran", "[2, 3] 1.0"]
    assert second == ["[2, 3] 1.0"]
    assert edited == ["planted-choices ran", "[3, 2] 1.0"]
