import json

import pytest

from avss_core.data.schemas import DOCUMENTS, QUESTIONS, SENTIMENT, read_rows, read_text, validate

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
    validate([QUESTION | change, QUESTION | {"id": "q-1"}], QUESTIONS, "q.jsonl")


@pytest.mark.parametrize("label", [0, 1])
def test_good_sentiment_passes(label):
    validate([SENTENCE | {"label": label}], SENTIMENT, "s.jsonl")


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
        validate([*good, QUESTION | change], QUESTIONS, "nq/train.jsonl")
    assert str(caught.value).splitlines()[1] == f"nq/train.jsonl:3: {problem}"
    assert "Correct or delete" in str(caught.value)


@pytest.mark.parametrize("field", list(QUESTION))
def test_a_missing_field_is_named(field):
    with pytest.raises(ValueError, match=rf"q\.jsonl:2: {field} is missing"):
        validate([QUESTION, without(QUESTION | {"id": "q-1"}, field)], QUESTIONS, "q.jsonl")


def test_a_field_that_every_row_lacks_is_named_on_each_line():
    bare = [without(QUESTION | {"id": f"q-{index}"}, "wrong_answers") for index in range(2)]
    with pytest.raises(ValueError, match=r"q\.jsonl:1: wrong_answers is missing\n.*:2: wrong_answers is"):
        validate(bare, QUESTIONS, "q.jsonl")


def test_two_bad_fields_share_the_line_of_their_row():
    with pytest.raises(ValueError, match=r"q\.jsonl:1: question must .*: ''; answers needs .*: \[\]\n"):
        validate([QUESTION | {"question": "", "answers": []}], QUESTIONS, "q.jsonl")


def test_a_repeated_id_is_named():
    with pytest.raises(ValueError, match=r"q\.jsonl:2: id is the id of an earlier row too: 'q-0'"):
        validate([QUESTION, QUESTION], QUESTIONS, "q.jsonl")


# 0.5 and 1.0: coercion would turn them into 0 and 1.
@pytest.mark.parametrize("label", [0.5, 1.0, 2, -2, True, "1", [1]])
def test_a_label_is_never_coerced(label):
    with pytest.raises(ValueError, match=r"s\.jsonl:1: label must be the whole number 0 or 1") as caught:
        validate([SENTENCE | {"label": label}], SENTIMENT, "s.jsonl")
    assert f"0 or 1: {label!r}\n" in str(caught.value)


def test_missing_labels_of_the_public_test_split_are_refused():
    with pytest.raises(ValueError, match=r"sst2:1: label -1 marks a row without a label .*SST-2.*: -1"):
        validate([SENTENCE | {"label": -1}], SENTIMENT, "sst2")


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
        validate([SENTENCE | change], SENTIMENT, "s.jsonl")
    assert str(caught.value).splitlines()[1] == f"s.jsonl:1: {problem}"


@pytest.mark.parametrize("schema", [QUESTIONS, SENTIMENT])
def test_no_rows_are_refused(schema):
    with pytest.raises(ValueError, match=r"empty\.jsonl: no rows"):
        validate([], schema, "empty.jsonl")


@pytest.mark.parametrize(("count", "listed", "more"), [(20, 20, None), (21, 20, "and 1 more")])
def test_at_most_twenty_rows_are_listed(count, listed, more):
    with pytest.raises(ValueError, match=f"bad lines: {count}\n") as caught:
        validate([SENTENCE | {"id": str(i), "label": 5} for i in range(count)], SENTIMENT, "s.jsonl")
    lines = str(caught.value).splitlines()
    assert sum(line.startswith("s.jsonl:") for line in lines[1:]) == listed
    assert (more in lines) == (more is not None)


def test_a_long_value_is_shortened():
    with pytest.raises(ValueError, match="xxx…") as caught:
        validate([QUESTION | {"answers": "x" * 5000}], QUESTIONS, "q.jsonl")
    assert len(str(caught.value)) < 500


def test_rows_are_read_as_written(tmp_path):
    # U+2028 and U+0085 end a line for str.splitlines, but not in JSON Lines.
    rows = [QUESTION | {"question": "what is\u2028this\u0085"}, QUESTION | {"id": "q-1"}]
    path = tmp_path / "rows.jsonl"
    path.write_text("\r\n".join(json.dumps(row, ensure_ascii=False) for row in rows) + "\r\n", "utf-8")
    assert read_rows(path, QUESTIONS) == rows


def test_a_byte_order_mark_is_skipped(tmp_path):
    path = tmp_path / "rows.jsonl"
    path.write_text(json.dumps(SENTENCE), "utf-8-sig")
    assert read_rows(path, SENTIMENT) == [SENTENCE]


@pytest.mark.parametrize("content", ["", "\n", " \n\n"])
def test_a_blank_file_has_no_rows(tmp_path, content):
    path = tmp_path / "rows.jsonl"
    path.write_text(content)
    with pytest.raises(ValueError, match=r"rows\.jsonl: no rows\. A row is"):
        read_rows(path, SENTIMENT)


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ('{"id": 1', "not JSON: Expecting ',' delimiter at column 9: '{\"id\": 1'"),
        ("", "not JSON: Expecting value at column 1: ''"),
        ("[1, 2]", "not a JSON object: '[1, 2]'"),
        ("null", "not a JSON object: 'null'"),
        (
            r'{"id": "s-2", "text": "a \ud83d joy", "label": 1}',
            r"\ud83d is half a character: write both halves, or the character itself: "
            r"""'{"id": "s-2", "text": "a \\ud83d joy", "label": 1}'""",
        ),
        (
            r'{"id": "s-2", "text": "a joy", "label": 1, "\ude00": 1}',
            r"\ude00 is half a character: write both halves, or the character itself: "
            r"""'{"id": "s-2", "text": "a joy", "label": 1, "\\ude00": 1}'""",
        ),
        (
            '{"id": "s-2", "text": "a joy", "label": 1, "label": 0}',
            "the key 'label' stands 2 times in one object: "
            """'{"id": "s-2", "text": "a joy", "label": 1, "label": 0}'""",
        ),
        ("[" * 100_000, f"brackets are nested too deep: '{'[' * 78}…"),
        ("9" * 5000, f"a number has 5,000 digits: '{'9' * 78}…"),
    ],
)
def test_a_line_that_is_no_json_object_is_named(tmp_path, line, problem):
    path = tmp_path / "rows.jsonl"
    path.write_text("\n".join([json.dumps(SENTENCE), line, json.dumps(SENTENCE | {"id": "s-1"})]))
    with pytest.raises(ValueError, match="bad lines: 1\n") as caught:
        read_rows(path, SENTIMENT)
    found, remedy = str(caught.value).splitlines()[1:]
    assert found == f"{path}:2: {problem}"
    assert remedy.startswith(
        'Write one JSON object a line. A row is {"id": text, "text": text, "label": 0 or 1}'
    )


@pytest.mark.parametrize("depth", [10, 500, 900, 2000, 5000, 100_000])
def test_a_nested_row_is_one_message_at_any_depth(tmp_path, depth):
    path = tmp_path / "rows.jsonl"
    nested = "[" * depth + "]" * depth
    path.write_text(json.dumps(QUESTION)[:-1] + f', "more": {nested}}}')
    with pytest.raises(
        ValueError, match=r"rows\.jsonl: bad lines: 1\n.*rows\.jsonl:1: (more is not|brackets)"
    ):
        read_rows(path, QUESTIONS)
    path.write_text(f'{{"text": "one", "more": {nested}}}')
    if depth < 400:
        assert [row["text"] for row in read_rows(path, DOCUMENTS)] == ["one"]
    elif depth > 1000:
        with pytest.raises(ValueError, match=r"rows\.jsonl:1: brackets are nested too deep"):
            read_rows(path, DOCUMENTS)


def test_a_whole_emoji_in_halves_is_read(tmp_path):
    path = tmp_path / "rows.jsonl"
    path.write_text(r'{"id": "s-0", "text": "a \ud83d\ude00 joy", "label": 1}')
    assert read_rows(path, SENTIMENT)[0]["text"] == "a \U0001f600 joy"


def test_lines_that_are_no_json_and_bad_rows_are_told_together(tmp_path):
    path = tmp_path / "rows.jsonl"
    good = json.dumps(QUESTION)
    lines = [
        json.dumps(QUESTION | {"id": "q-1", "answers": "Shakespeare"}),
        good,
        f"{good[:-1]},}}",
        json.dumps(QUESTION | {"id": "q-2", "wrong_answer": "Marlowe"}),
    ]
    path.write_text("\n".join(lines))
    with pytest.raises(ValueError, match="bad lines: 3\n") as caught:
        read_rows(path, QUESTIONS)
    _, one, three, four, remedy = str(caught.value).splitlines()
    assert one == f"{path}:1: answers must be a list of texts: 'Shakespeare'"
    assert three.startswith(f"{path}:3: not JSON: ")
    assert four == f"{path}:4: wrong_answer is not a field of such a row: 'Marlowe'"
    assert remedy.startswith('Write one JSON object a line. A row is {"id": text')


def test_twenty_lines_of_both_kinds_are_listed(tmp_path):
    path = tmp_path / "rows.jsonl"
    path.write_text("\n".join([*["{"] * 15, *['{"id": 1}'] * 7]))
    with pytest.raises(ValueError, match="bad lines: 22\n") as caught:
        read_rows(path, QUESTIONS)
    lines = str(caught.value).splitlines()
    assert [line.split(":")[1] for line in lines[1:21]] == [str(number) for number in range(1, 21)]
    assert lines[21] == "and 2 more"


def test_a_file_in_another_encoding_is_named(tmp_path):
    path = tmp_path / "rows.jsonl"
    path.write_bytes(b"one\ntwo caf\xe9\n")
    with pytest.raises(ValueError, match=r"rows\.jsonl:2: not UTF-8 \(invalid continuation byte\)"):
        read_text(path)
