import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from avss_core.data.texts import (
    CALIBRATION_SHARE,
    articles,
    language_topics,
    read_parts,
    split_file,
    text_files,
)

SAMPLE = Path(__file__).parents[3] / "data" / "sample"
ARTICLE_ONE = (
    " \n = One = \n \n First text . \n = 1 / s and k = \n more . \n \n = = Section = = \n \n Body . \n"
)
ARTICLE_TWO = " \n = Two ( film ) = \n \n Second text . \n"


@pytest.mark.parametrize(
    "text", ["", "no headings at all\n", ARTICLE_ONE + ARTICLE_TWO, "lead\n" + ARTICLE_ONE]
)
def test_the_articles_joined_are_the_file(text):
    assert "".join(articles(text)) == text


def test_articles_begin_at_titles_and_not_at_sections_or_formulas():
    assert articles(ARTICLE_ONE + ARTICLE_TWO) == [ARTICLE_ONE, ARTICLE_TWO]
    assert articles("lead\n" + ARTICLE_TWO) == ["lead\n", ARTICLE_TWO]
    assert articles("no headings") == ["no headings"]


def test_blank_lines_may_be_without_their_space():
    assert len(articles((ARTICLE_ONE + ARTICLE_TWO).replace("\n \n", "\n\n"))) == 2


def topics(folder, names):
    rows = [json.dumps({"name": name, "text": text}) for name, text in names.items()]
    (folder / "topics.jsonl").write_text("\n".join(rows), "utf-8")
    return language_topics(folder)


def test_language_topics_are_all_there_once_and_apart():
    parts = language_topics(SAMPLE)
    both = [*parts["calibration"], *parts["test"]]
    assert len(both) == len(set(both)) == 78
    assert 0.25 < len(parts["calibration"]) / len(both) < 0.55


def test_another_topic_moves_no_topic_to_the_other_part(tmp_path):
    names = {f"topic{index:02d}": f"text {index}" for index in range(30)}
    before = topics(tmp_path, names)
    after = topics(tmp_path, names | {"a new one": "new text"})
    assert sum(map(len, before.values())) == 30
    for part in ("calibration", "test"):
        assert [text for text in after[part] if text != "new text"] == before[part]


@pytest.fixture
def write(tmp_path):
    def write(name, text):
        (tmp_path / name).write_text(text, "utf-8")
        return tmp_path / name

    return write


def test_the_files_of_a_text():
    assert text_files("poems") == ["poems/valid.txt", "poems/test.txt"]
    assert text_files("book.txt") == ["book.txt"]
    assert text_files("rows.jsonl") == ["rows.jsonl"]


def test_the_first_paragraphs_that_hold_the_share_calibrate(write):
    # 40 characters in all, of which 16 are 40 %: the second paragraph reaches them.
    found = split_file(write("a.txt", "a" * 10 + "\n\n" + "b" * 8 + "\n \n\n" + "c" * 12 + "\n\n" + "d" * 10))
    assert found == {"calibration": ["a" * 10, "b" * 8], "test": ["c" * 12, "d" * 10]}


def test_one_large_paragraph_in_front_or_behind_leaves_something_for_the_other_part(write):
    assert split_file(write("a.txt", "a" * 99 + "\n\nb")) == {"calibration": ["a" * 99], "test": ["b"]}
    assert split_file(write("a.txt", "a\n\n" + "b" * 99)) == {"calibration": ["a"], "test": ["b" * 99]}


def test_indentation_and_single_line_breaks_stay(write):
    found = split_file(write("a.md", "Text:\n\n    code\n    more\n\nEnd."))
    assert found["calibration"] + found["test"] == ["Text:", "    code\n    more", "End."]


def test_a_file_of_wikitext_is_split_between_its_articles(write):
    found = split_file(write("wiki.txt", ARTICLE_ONE + ARTICLE_TWO))
    assert found == {"calibration": [ARTICLE_ONE], "test": [ARTICLE_TWO]}


def test_each_row_is_a_document_and_its_other_fields_may_be_any(write):
    rows = [{"text": "one\n\nstill one", "id": 1}, {"text": "two", "tags": ["a"]}, {"text": "three"}]
    found = split_file(write("rows.jsonl", "".join(json.dumps(row) + "\n" for row in rows)))
    assert found == {"calibration": ["one\n\nstill one"], "test": ["two", "three"]}


def test_a_row_without_text_is_named_with_its_line(write):
    with pytest.raises(ValueError, match=r"rows\.jsonl:2: text is missing"):
        split_file(write("rows.jsonl", '{"text": "a"}\n{"body": "b"}\n'))


def test_a_document_that_calibrates_does_not_test(write):
    assert split_file(write("a.txt", "one\n\ntwo\n\none\n\nthree"))["test"] == ["three"]


@pytest.mark.parametrize("text", ["only one", "same\n\nsame"])
def test_one_document_is_refused(write, text):
    with pytest.raises(ValueError, match=r"a\.txt: one document cannot both calibrate and test"):
        split_file(write("a.txt", text))


def test_a_blank_file_is_refused(write):
    with pytest.raises(ValueError, match=r"a\.txt: the file holds no text"):
        split_file(write("a.txt", " \n"))


@given(st.lists(st.text("ab \n", min_size=1).filter(str.strip), min_size=2, max_size=12))
def test_the_parts_are_disjoint_in_order_and_no_larger_than_they_must_be(tmp_path_factory, documents):
    path = tmp_path_factory.getbasetemp() / "documents.jsonl"
    path.write_text("".join(json.dumps({"text": text}) + "\n" for text in documents), "utf-8")
    try:
        found = split_file(path)
    except ValueError:
        return
    calibration, test = found["calibration"], found["test"]
    count = len(calibration)
    assert calibration == documents[:count]
    assert test == [text for text in documents[count:] if text not in calibration]
    assert not set(calibration) & set(test)
    assert sum(map(len, calibration[:-1])) < CALIBRATION_SHARE * sum(map(len, documents))
    assert split_file(path) == found


def test_a_folder_has_a_file_for_each_part(tmp_path):
    (tmp_path / "poems").mkdir()
    (tmp_path / "poems" / "valid.txt").write_text(ARTICLE_ONE + ARTICLE_TWO, "utf-8")
    (tmp_path / "poems" / "test.txt").write_text("a\n\nb", "utf-8")
    assert read_parts(tmp_path, "poems") == {"calibration": [ARTICLE_ONE, ARTICLE_TWO], "test": ["a\n\nb"]}
