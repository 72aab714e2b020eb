import io
import json
from itertools import count

import pytest
import zstandard
from huggingface_hub.utils import httpx

from avss_core.data.pile import FILES, LARGEST, LONGEST, REPO, REVISION, SUBSETS, pile_text, take, unpacked


def row(text, subset="Pile-CC"):
    return {"text": text, "meta": {"pile_set_name": subset}}


def test_documents_are_taken_until_they_hold_enough_and_no_row_is_read_behind_them():
    read = []
    rows = (read.append(i) or row(f"text {i}") for i in count())
    assert take(rows, None, 13) == ["text 0", "text 1", "text 2"]
    assert read == [0, 1, 2]


def test_a_subset_is_the_rows_that_name_it():
    rows = [row("a page"), row("a thread", "HackerNews"), row("a patent", "USPTO"), row("more", "HackerNews")]
    assert take(rows, "HackerNews", 1000) == ["a thread", "more"]
    assert take(rows, None, 1000) == ["a page", "a thread", "a patent", "more"]


def test_a_long_document_gives_no_more_than_its_share():
    assert take([row("b" * (LONGEST + 5)), row("c")], None, LONGEST + 1) == ["b" * LONGEST, "c"]


def test_blank_repeated_and_seen_documents_are_left_out():
    rows = [row("one"), row(" \n"), row("one"), row("two"), row("three")]
    assert take(rows, None, 1000, ["two"]) == ["one", "three"]


def test_half_a_character_becomes_a_question_mark():
    assert take([row("a \ud83d b \U0001f600")], None, 1000) == ["a ? b \U0001f600"]


def test_the_revision_is_a_commit():
    assert len(REVISION) == 40
    assert int(REVISION, 16) > 0


def test_an_outage_while_it_streams_is_named_with_the_way_out(monkeypatch):
    def broken(*_args, **_kwargs):
        yield row("first")
        raise httpx.ReadError("the line went dead.")

    monkeypatch.setattr("avss_core.data.pile._stream", broken)
    with pytest.raises(ConnectionError, match=rf"{REPO} cannot be read .* \(the line went dead\): connect"):
        pile_text("pile", 1000)


def test_a_file_without_such_a_document_is_named(monkeypatch):
    monkeypatch.setattr("avss_core.data.pile._stream", lambda _file: iter([row("a page")]))
    with pytest.raises(ValueError, match=r"val\.jsonl\.zst: no document of hackernews"):
        pile_text("hackernews", 10)


def packed(*parts):
    return io.BytesIO(b"".join(map(zstandard.compress, parts)))


def test_rows_of_all_frames_are_unpacked_in_order():
    lines = [json.dumps(row(f"text {index}")).encode() + b"\n" for index in range(4)]
    found = unpacked(packed(lines[0] + lines[1][:9], lines[1][9:], lines[2] + lines[3][:-1]), "file")
    assert [each["text"] for each in found] == [f"text {index}" for index in range(4)]


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (zstandard.compress(b"not json"), "Expecting value"),
        (zstandard.compress(b"[1]"), "a row is not a JSON object"),
        (b"not zstd at all", "zstd decomp"),
        (zstandard.compress(b"\xff\xfe\x00"), "can't decode"),
    ],
)
def test_a_file_that_is_something_else_is_named(content, reason):
    with pytest.raises(ValueError, match=f"repo file is not what was published: .*{reason}"):
        list(unpacked(io.BytesIO(content), "repo file"))


def test_a_row_that_unpacks_to_more_than_memory_is_refused_early():
    """Sixteen gibibytes, in frames of a few hundred bytes, of which no more than the limit is unpacked."""
    frame = zstandard.compress(b"a" * (4 << 20))
    read = []

    class Endless(io.RawIOBase):
        def readable(self):
            return True

        def read(self, _size=-1):
            read.append(len(frame))
            return frame if len(read) <= 4096 else b""

    with pytest.raises(ValueError, match=f"a row has more than {LARGEST} bytes"):
        next(unpacked(Endless(), "bomb"))
    assert len(read) <= LARGEST // (4 << 20) + 2


STREAM = """
import json, pathlib, sys
from avss_core.data.pile import SUBSETS, pile_text
pathlib.Path(sys.argv[1]).write_text(json.dumps({name: pile_text(name, 60) for name in SUBSETS}))
"""


@pytest.mark.slow
def test_both_texts_stream_from_the_pinned_revision(tmp_path, local_hub, run):
    repository = local_hub.folder / REPO
    repository.mkdir(parents=True)
    (repository / "README.md").write_text("---\nlicense: other\n---\n")
    for part, file in FILES.items():
        rows = [
            row(f"{part} {index}: {'text ' * 5}", "HackerNews" if index % 5 == 4 else "Pile-CC")
            for index in range(40)
        ]
        lines = "".join(json.dumps(each) + "\n" for each in rows)
        (repository / file).write_bytes(zstandard.compress(lines.encode()))
    (repository / "train").mkdir()
    (repository / "train" / "00.jsonl.zst").write_bytes(b"must not be read")
    out = tmp_path / "texts.json"
    finished = run(STREAM, str(out), **local_hub.environment)
    assert finished.returncode == 0, finished.stderr
    texts = json.loads(out.read_text())
    assert texts.keys() == SUBSETS.keys()
    for part in FILES:
        starts = {name: [text.partition(":")[0] for text in texts[name][part]] for name in SUBSETS}
        assert starts["pile"] == [f"{part} 0", f"{part} 1"]
        assert starts["hackernews"] == [f"{part} 4", f"{part} 9"]
    fetched = [path for path in local_hub.asked if path.endswith(".zst")]
    assert {path.rpartition("/")[2] for path in fetched} == set(FILES.values())
    assert all(path.startswith(f"datasets/{REPO}/resolve/{REVISION}/") for path in fetched)
