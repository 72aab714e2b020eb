import json

import pytest

from tasks.schemas import read_rows, read_text, validate_questions, validate_sentiment

QUESTION = {
    "id": "q-0",
    "question": "who wrote Hamlet",
    "answers": ["Shakespeare"],
    "wrong_answers": ["Marlowe"],
}
SENTENCE = {"id": "s-0", "text": "a joy", "label": 1}


def without(row, field):
    return {key: value for key, value in row.items() if key != field}


@pytest.mark.parametrize(
    "change",
    [
        {},
        {"wrong_answers": []},
        {"answers": ["", "Shakespeare"]},
        {"question": "誰がハムレットを書いたか"},
        {"answers": ["∅"]},
    ],
)
def test_good_questions_pass(change):
    validate_questions([QUESTION | change, QUESTION | {"id": "q-1"}], "q.jsonl")


@pytest.mark.parametrize("label", [0, 1])
def test_good_sentiment_passes(label):
    validate_sentiment([SENTENCE | {"label": label}], "s.jsonl")


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"id": ""}, "id must be text that is not blank: ''"),
        ({"id": 7}, "id must be text that is not blank: 7"),
        ({"id": ["x"]}, "id must be text that is not blank: ['x']"),
        ({"question": " \n"}, r"question must be text that is not blank: ' \n'"),
        ({"question": None}, "question must not be null: None"),
        ({"question": 1.5}, "question must be text that is not blank: 1.5"),
        ({"question": "?!"}, "question must hold a word or a number: '?!'"),
        ({"answers": []}, "answers needs at least one answer that is not blank: []"),
        ({"answers": ["", " "]}, "answers needs at least one answer that is not blank: ['', ' ']"),
        ({"answers": "Shakespeare"}, "answers must be a list of texts: 'Shakespeare'"),
        ({"answers": ["Shakespeare", 3]}, "answers must be a list of texts: ['Shakespeare', 3]"),
        ({"answers": [None]}, "answers must be a list of texts: [None]"),
        ({"wrong_answers": None}, "wrong_answers must not be null: None"),
        ({"wrong_answers": "Marlowe"}, "wrong_answers must be a list of texts: 'Marlowe'"),
        ({"wrong_answers": {"a": 1}}, "wrong_answers must be a list of texts: {'a': 1}"),
        ({"answer": "x"}, "answer is not a field of such a row: 'x'"),
    ],
)
def test_bad_questions_are_named(change, problem):
    good = [QUESTION | {"id": f"good-{index}"} for index in range(2)]
    with pytest.raises(ValueError, match="bad lines: 1\n") as caught:
        validate_questions([*good, QUESTION | change], "nq/train.jsonl")
    assert str(caught.value).splitlines()[1] == f"nq/train.jsonl:3: {problem}"
    assert "Correct or delete" in str(caught.value)


@pytest.mark.parametrize("field", list(QUESTION))
def test_a_missing_field_is_named(field):
    with pytest.raises(ValueError, match=rf"q\.jsonl:2: {field} is missing"):
        validate_questions([QUESTION, without(QUESTION | {"id": "q-1"}, field)], "q.jsonl")


def test_a_field_that_every_row_lacks_is_named_on_each_line():
    bare = [without(QUESTION | {"id": f"q-{index}"}, "wrong_answers") for index in range(2)]
    with pytest.raises(ValueError, match=r"q\.jsonl:1: wrong_answers is missing\n.*:2: wrong_answers is"):
        validate_questions(bare, "q.jsonl")


def test_two_bad_fields_share_the_line_of_their_row():
    with pytest.raises(ValueError, match=r"q\.jsonl:1: question must .*: ''; answers needs .*: \[\]\n"):
        validate_questions([QUESTION | {"question": "", "answers": []}], "q.jsonl")


def test_a_repeated_id_is_named():
    with pytest.raises(ValueError, match=r"q\.jsonl:2: id is the id of an earlier row too: 'q-0'"):
        validate_questions([QUESTION, QUESTION], "q.jsonl")


# 0.5 and 1.0: coercion would turn them into 0 and 1.
@pytest.mark.parametrize("label", [0.5, 1.0, 2, -2, True, "1", [1]])
def test_a_label_is_never_coerced(label):
    with pytest.raises(ValueError, match=r"s\.jsonl:1: label must be the whole number 0 or 1") as caught:
        validate_sentiment([SENTENCE | {"label": label}], "s.jsonl")
    assert f"0 or 1: {label!r}\n" in str(caught.value)


def test_missing_labels_of_the_public_test_split_are_refused():
    with pytest.raises(ValueError, match=r"sst2:1: label -1 marks a row without a label .*SST-2.*: -1"):
        validate_sentiment([SENTENCE | {"label": -1}], "sst2")


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"text": ""}, "text must be text that is not blank: ''"),
        ({"label": None}, "label must not be null: None"),
        ({"sentence": "x"}, "sentence is not a field of such a row: 'x'"),
    ],
)
def test_bad_sentiment_is_named(change, problem):
    with pytest.raises(ValueError, match="bad lines: 1\n") as caught:
        validate_sentiment([SENTENCE | change], "s.jsonl")
    assert str(caught.value).splitlines()[1] == f"s.jsonl:1: {problem}"


@pytest.mark.parametrize("validate", [validate_questions, validate_sentiment])
def test_no_rows_are_refused(validate):
    with pytest.raises(ValueError, match=r"empty\.jsonl: no rows"):
        validate([], "empty.jsonl")


@pytest.mark.parametrize(("count", "listed", "more"), [(20, 20, None), (21, 20, "and 1 more")])
def test_at_most_twenty_rows_are_listed(count, listed, more):
    with pytest.raises(ValueError, match=f"bad lines: {count}\n") as caught:
        validate_sentiment([SENTENCE | {"id": str(i), "label": 5} for i in range(count)], "s.jsonl")
    lines = str(caught.value).splitlines()
    assert sum(line.startswith("s.jsonl:") for line in lines[1:]) == listed
    assert (more in lines) == (more is not None)


def test_a_long_value_is_shortened():
    with pytest.raises(ValueError, match="xxx…") as caught:
        validate_questions([QUESTION | {"answers": "x" * 5000}], "q.jsonl")
    assert len(str(caught.value)) < 500


def test_rows_are_read_as_written(tmp_path):
    # U+2028 and U+0085 end a line for str.splitlines, but not in JSON Lines.
    rows = [QUESTION | {"question": "what is\u2028this\u0085"}, SENTENCE]
    path = tmp_path / "rows.jsonl"
    path.write_text("\r\n".join(json.dumps(row, ensure_ascii=False) for row in rows) + "\r\n", "utf-8")
    assert read_rows(path) == rows


def test_a_byte_order_mark_is_skipped(tmp_path):
    path = tmp_path / "rows.jsonl"
    path.write_text(json.dumps(SENTENCE), "utf-8-sig")
    assert read_rows(path) == [SENTENCE]


@pytest.mark.parametrize("content", ["", "\n", " \n\n"])
def test_a_blank_file_has_no_rows(tmp_path, content):
    path = tmp_path / "rows.jsonl"
    path.write_text(content)
    assert read_rows(path) == []


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ('{"id": 1', "not JSON: Expecting ',' delimiter at column 9: '{\"id\": 1'"),
        ("", "not JSON: Expecting value at column 1: ''"),
        ("[1, 2]", "not a JSON object: '[1, 2]'"),
        ("null", "not a JSON object: 'null'"),
    ],
)
def test_a_line_that_is_no_json_object_is_named(tmp_path, line, problem):
    path = tmp_path / "rows.jsonl"
    path.write_text("\n".join([json.dumps(SENTENCE), line, json.dumps(SENTENCE)]))
    with pytest.raises(ValueError, match="bad lines: 1\n") as caught:
        read_rows(path)
    assert str(caught.value).splitlines()[1:] == [f"{path}:2: {problem}", "Write one JSON object a line."]


def test_a_file_in_another_encoding_is_named(tmp_path):
    path = tmp_path / "rows.jsonl"
    path.write_bytes(b"one\ntwo caf\xe9\n")
    with pytest.raises(ValueError, match=r"rows\.jsonl:2: not UTF-8 \(invalid continuation byte\)"):
        read_text(path)
