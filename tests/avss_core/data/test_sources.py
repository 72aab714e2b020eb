import json
import shutil
from pathlib import Path

import pytest

from avss_core.data import sources
from avss_core.data.data_folders import half_sets
from avss_core.data.sources import RawData, Wanted, load
from avss_core.data.texts import language_topics

REPOSITORY = Path(__file__).parents[3]
SHARED = REPOSITORY.parent / "shared" / "data"
SAMPLE = REPOSITORY / "data" / "sample"

ARTICLE_ONE = (
    " \n = One = \n \n First text . \n = 1 / s and k = \n more . \n \n = = Section = = \n \n Body . \n"
)
ARTICLE_TWO = " \n = Two ( film ) = \n \n Second text . \n"


def question(identity):
    return {"id": identity, "question": f"what is {identity}", "answers": ["x"], "wrong_answers": []}


def write_rows(path, rows):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")


def write_set(folder, name):
    for side in ("train", "test"):
        write_rows(folder / name / f"{side}.jsonl", [question(f"{name}-{side}-{i}") for i in range(2)])


def write_sentiment(folder, text):
    for side in ("train", "validation"):
        write_rows(folder / "sst2" / f"{side}.jsonl", [{"id": side, "text": text, "label": 0}])


def write_text(folder):
    (folder / "wikitext2").mkdir()
    for part in ("valid", "test"):
        (folder / "wikitext2" / f"{part}.txt").write_text(ARTICLE_ONE + ARTICLE_TWO, "utf-8")


@pytest.fixture
def sample(tmp_path):
    folder = tmp_path / "sample"
    for name in ("nq", "sciq"):
        write_set(folder, name)
    write_sentiment(folder, "of the sample")
    shutil.copy(SAMPLE / "topics.jsonl", folder)
    return folder


@pytest.fixture
def own(tmp_path):
    folder = tmp_path / "own"
    write_set(folder, "quiz")
    return folder


def test_the_sample_has_its_rows_and_the_language_topics(sample):
    data = load("sample", None, ["sciq", "nq"], sample)
    assert data.questions["nq"]["test"] == [question("nq-test-0"), question("nq-test-1")]
    assert list(data.questions) == ["sciq", "nq"]
    assert data.sentiment["validation"] == [{"id": "validation", "text": "of the sample", "label": 0}]
    assert data.text == language_topics(SAMPLE)
    assert data.origin == {"questions": "sample", "sentiment": "sample", "text": "sample"}


def test_a_folder_with_everything_is_used_alone(sample, own):
    write_sentiment(own, "of the folder")
    write_text(own)
    data = load("path", own, ["quiz"], sample)
    assert data.questions == {
        "quiz": {side: [question(f"quiz-{side}-{i}") for i in range(2)] for side in ("train", "test")}
    }
    assert data.sentiment["train"] == [{"id": "train", "text": "of the folder", "label": 0}]
    assert data.text == {"calibration": [ARTICLE_ONE, ARTICLE_TWO], "test": [ARTICLE_ONE, ARTICLE_TWO]}
    assert data.origin == {"questions": "path", "sentiment": "path", "text": "path"}


def test_what_a_folder_lacks_comes_from_the_sample_and_origin_says_so(sample, own):
    data = load("path", own, ["quiz"], sample)
    assert data.sentiment["train"][0]["text"] == "of the sample"
    assert data.text == language_topics(SAMPLE)
    assert data.origin == {"questions": "path", "sentiment": "sample", "text": "sample"}


def test_each_half_falls_back_by_itself(sample, own):
    write_text(own)
    data = load("path", own, ["quiz"], sample)
    assert data.text["test"] == [ARTICLE_ONE, ARTICLE_TWO]
    assert data.origin == {"questions": "path", "sentiment": "sample", "text": "path"}


def test_all_missing_files_are_listed_with_what_is_there_and_the_layout(sample, own):
    (own / "quiz" / "test.jsonl").unlink()
    (own / "sst2").mkdir()
    (own / "wikitext2").mkdir()
    with pytest.raises(FileNotFoundError) as caught:
        load("path", own, ["quiz", "nq"], sample)
    message = str(caught.value)
    assert (
        f"{own} lacks quiz/test.jsonl, nq/train.jsonl, nq/test.jsonl, sst2/train.jsonl, "
        "sst2/validation.jsonl, wikitext2/valid.txt, wikitext2/test.txt; it holds quiz, sst2, "
        "wikitext2; quiz holds train.jsonl; sst2 is empty; wikitext2 is empty; files with exactly the names "
        "of the layout are read. The layout is" in message
    )


@pytest.mark.parametrize("name", ["test.csv", "test.jsonl.gz", "Test.JSONL", "test.json"])
def test_a_file_of_almost_the_right_name_is_named(sample, own, name):
    write_set(own, "faq")
    (own / "faq" / "test.jsonl").rename(own / "faq" / name)
    said = f"faq holds {', '.join(sorted([name, 'train.jsonl']))}; files with exactly the names of the layout"
    with pytest.raises(FileNotFoundError, match=r"lacks faq/test\.jsonl") as caught:
        load("path", own, ["faq"], sample)
    assert said in str(caught.value)
    with pytest.raises(FileNotFoundError, match=r"lacks nq/train\.jsonl") as caught:
        load("path", own, ["nq"], sample)
    assert said in str(caught.value)


def test_folders_of_sentiment_and_text_are_no_half_sets(own):
    write_sentiment(own, "of the folder")
    write_text(own)
    (own / "notes").mkdir()
    assert half_sets(own) == []


def test_the_sets_that_a_folder_holds_are_offered_where_others_are_missing(sample, own):
    write_set(own, "faq")
    write_sentiment(own, "of the folder")
    (own / "half").mkdir()
    with pytest.raises(
        FileNotFoundError, match=r"it holds faq, quiz: --set 'data\.sets=\[faq, quiz\]'\. The"
    ):
        load("path", own, ["nq", "faq"], sample)
    (own / "sst2" / "train.jsonl").unlink()
    with pytest.raises(
        FileNotFoundError,
        match=r"lacks sst2/train\.jsonl; it holds faq, .*, sst2; sst2 holds validation\.jsonl; files",
    ):
        load("path", own, ["faq"], sample)


def test_an_empty_folder_has_its_own_message(sample, tmp_path):
    empty = tmp_path / "empty"
    empty.mkdir()
    with pytest.raises(FileNotFoundError, match=r"empty is empty: put nq/train\.jsonl, nq/test\.jsonl there"):
        load("path", empty, ["nq"], sample)


def test_a_missing_folder_has_its_own_message(sample, tmp_path):
    with pytest.raises(FileNotFoundError, match="nowhere does not exist"):
        load("path", tmp_path / "nowhere", ["nq"], sample)


def test_a_file_is_no_folder(sample):
    with pytest.raises(FileNotFoundError, match=r"train\.jsonl is not a folder"):
        load("path", sample / "nq" / "train.jsonl", ["nq"], sample)


def test_a_sample_without_sentiment_is_named(own, tmp_path):
    write_set(tmp_path / "bare", "nq")
    with pytest.raises(FileNotFoundError, match=r"bare lacks sst2/train\.jsonl, sst2/validation\.jsonl"):
        load("path", own, ["quiz"], tmp_path / "bare")


def test_a_bad_row_is_named_with_its_file_and_line(sample):
    write_rows(sample / "nq" / "test.jsonl", [question("a"), question("b") | {"answers": []}])
    with pytest.raises(ValueError, match=r"nq/test\.jsonl:2: answers needs at least one"):
        load("sample", None, ["nq"], sample)


def test_a_bad_sentiment_row_is_named_with_its_file_and_line(sample):
    write_rows(sample / "sst2" / "validation.jsonl", [{"id": "a", "text": "b", "label": -1}])
    with pytest.raises(ValueError, match=r"sst2/validation\.jsonl:1: label -1"):
        load("sample", None, ["nq"], sample)


def test_a_blank_text_file_is_named(sample, own):
    write_text(own)
    (own / "wikitext2" / "valid.txt").write_text(" \n \n")
    with pytest.raises(ValueError, match=r"wikitext2/valid\.txt: the file holds no text"):
        load("path", own, ["quiz"], sample)


def test_an_unknown_source_is_named(sample):
    with pytest.raises(ValueError, match=r"unknown data\.source 'web': it is one of sample, path, hub"):
        load("web", None, ["nq"], sample)


def test_the_source_path_needs_a_path(sample):
    with pytest.raises(ValueError, match=r"data\.source is path, but data\.path is not given"):
        load("path", None, ["nq"], sample)


@pytest.mark.parametrize("source", sources.SOURCES)
def test_no_sets_are_refused(source, sample):
    with pytest.raises(ValueError, match="no question set is asked for"):
        load(source, sample, [], sample)


def test_an_unknown_public_set_is_named_with_the_nearest(sample):
    with pytest.raises(LookupError, match=r"no set 'trivia_qa', only nq, .*; did you mean triviaqa\?"):
        load("hub", None, ["nq", "trivia_qa"], sample)


def public(monkeypatch, **changed):
    """Put small public data sets in the place of the Hub."""
    stored = {
        "nq": {side: [question(side)] for side in ("train", "test")},
        "sst2": {side: [{"id": side, "text": "a", "label": 1}] for side in ("train", "validation")},
        "wikitext2": {
            part: [
                {"id": str(i), "text": line} for i, line in enumerate(ARTICLE_ONE.splitlines(keepends=True))
            ]
            for part in ("calibration", "test")
        },
    }
    monkeypatch.setattr(sources, "load_set", (stored | changed).__getitem__)
    return stored


def test_the_hub_gives_all_parts(monkeypatch, sample):
    stored = public(monkeypatch)
    assert load("hub", None, ["nq"], sample) == RawData(
        questions={"nq": stored["nq"]},
        sentiment=stored["sst2"],
        text={"calibration": [ARTICLE_ONE], "test": [ARTICLE_ONE]},
        origin={"questions": "hub", "sentiment": "hub", "text": "hub"},
    )


def test_bad_rows_of_the_hub_are_named(monkeypatch, sample):
    public(monkeypatch, nq={"train": [question("a") | {"answers": [" "]}], "test": [question("b")]})
    with pytest.raises(ValueError, match="nq_open train:1: answers needs at least one"):
        load("hub", None, ["nq"], sample)
    public(monkeypatch, sst2={"train": [{"id": "a", "text": "b", "label": -1}]})
    with pytest.raises(ValueError, match="stanfordnlp/sst2 train:1: label -1"):
        load("hub", None, ["nq"], sample)


def test_the_sample_of_the_project_is_valid():
    data = load("sample", None, sources.SETS, REPOSITORY / "data" / "sample")
    assert set(data.questions) == set(sources.SETS)


@pytest.mark.real
@pytest.mark.skipif(not SHARED.is_dir(), reason="the public sets are not beside the project")
def test_the_public_sets_beside_the_project_are_valid():
    data = load("path", SHARED, sources.SETS, REPOSITORY / "data" / "sample")
    assert data.origin == {"questions": "path", "sentiment": "path", "text": "path"}
    # WikiText-2 is published as 60 articles for validation and 60 for the test.
    assert {part: len(documents) for part, documents in data.text.items()} == {"calibration": 60, "test": 60}


def test_a_text_by_name_is_that_folder_or_file(sample, own):
    write_text(own)
    (own / "poems").mkdir()
    for part in ("valid", "test"):
        (own / "poems" / f"{part}.txt").write_text(f"a poem to {part}", "utf-8")
    (own / "book.md").write_text("# One\n\nFirst.\n\n# Two\n\nSecond.\n", "utf-8")
    poems = load("path", own, ["quiz"], sample, Wanted(text="poems"))
    assert poems.text == {"calibration": ["a poem to valid"], "test": ["a poem to test"]}
    assert poems.origin == {"questions": "path", "sentiment": "sample", "text": "path (poems)"}
    book = load("path", own, ["quiz"], sample, Wanted(text="book.md")).text
    assert book == {"calibration": ["# One", "First."], "test": ["# Two", "Second.\n"]}
    assert sources.load_text("path", own, [], SAMPLE, Wanted(text="book.md")) == (book, "path (book.md)")


def test_a_sentiment_set_by_name_is_that_folder(sample, own):
    write_sentiment(own, "of the folder")
    (own / "sst2").rename(own / "reviews")
    found = load("path", own, ["quiz"], sample, Wanted(sentiment="reviews"))
    assert found.sentiment["train"] == [{"id": "train", "text": "of the folder", "label": 0}]
    assert found.origin["sentiment"] == "path (reviews)"


def test_what_is_named_must_be_there(sample, own):
    with pytest.raises(FileNotFoundError) as caught:
        load("path", own, ["quiz"], sample, Wanted(text="poems", sentiment="reviews"))
    assert (
        "lacks reviews/train.jsonl, reviews/validation.jsonl, poems/valid.txt, poems/test.txt; it holds quiz"
        in str(caught.value)
    )
    with pytest.raises(FileNotFoundError, match=r"lacks book\.txt; it holds quiz"):
        sources.load_text("path", own, ["quiz"], SAMPLE, Wanted(text="book.txt"))


def test_the_hub_streams_the_text_that_is_wanted(monkeypatch, sample):
    public(monkeypatch)
    streamed = {"calibration": ["a thread"], "test": ["another"]}
    asked = []
    monkeypatch.setattr(sources, "pile_text", lambda *arguments: asked.append(arguments) or streamed)
    wanted = Wanted(text="hackernews", characters=77)
    found = load("hub", None, ["nq"], sample, wanted)
    assert found.text == streamed
    assert found.origin == {"questions": "hub", "sentiment": "hub", "text": "hub (hackernews)"}
    assert sources.load_text("hub", None, [], SAMPLE, wanted) == (streamed, "hub (hackernews)")
    assert asked == [("hackernews", 77)] * 2
    assert load("hub", None, ["nq"], sample, Wanted(text="wikitext2")).text["test"] == [ARTICLE_ONE]


@pytest.mark.real
@pytest.mark.skipif(not SHARED.is_dir(), reason="the public sets are not beside the project")
def test_one_file_beside_the_project_is_cut_between_two_articles():
    name = "wikitext2/test.txt"
    found = load("path", SHARED, ["nq"], REPOSITORY / "data" / "sample", Wanted(text=name)).text
    whole = (SHARED / name).read_text("utf-8")
    assert "".join(found["calibration"] + found["test"]) == whole
    assert len(found["calibration"]) + len(found["test"]) == 60
    assert 0.4 <= sum(map(len, found["calibration"])) / len(whole) < 0.45


def test_text_alone_needs_no_question(tmp_path):
    write_text(tmp_path)
    text, origin = sources.load_text("path", tmp_path, ["nq", "sciq"], SAMPLE)
    assert origin == "path"
    assert text == {"calibration": [ARTICLE_ONE, ARTICLE_TWO], "test": [ARTICLE_ONE, ARTICLE_TWO]}


def test_text_alone_is_the_samples_where_the_folder_has_sets_but_no_text(own):
    assert sources.load_text("path", own, ["quiz"], SAMPLE) == (language_topics(SAMPLE), "sample")
    assert sources.load_text("sample", None, ["quiz"], SAMPLE) == (language_topics(SAMPLE), "sample")


def test_text_alone_of_the_hub_loads_nothing_else(monkeypatch):
    rows = {part: [{"text": ARTICLE_ONE}, {"text": ARTICLE_TWO}] for part in ("calibration", "test")}
    monkeypatch.setattr(sources, "load_set", {"wikitext2": rows}.__getitem__)
    text, origin = sources.load_text("hub", None, ["nq"], SAMPLE)
    assert (text["test"], origin) == ([ARTICLE_ONE, ARTICLE_TWO], "hub")


def test_text_alone_still_refuses_the_bad_rows_of_a_set(own):
    write_text(own)
    write_rows(own / "quiz" / "test.jsonl", [{"id": "a", "question": "what"}])
    with pytest.raises(ValueError, match=r"quiz/test\.jsonl:1: answers is missing"):
        sources.load_text("path", own, ["quiz", "nq"], SAMPLE)
    # A set that nobody asks for is nobody's business.
    assert sources.load_text("path", own, ["nq"], SAMPLE)[1] == "path"


def test_text_alone_refuses_a_folder_with_nothing_in_it(tmp_path):
    (tmp_path / "notes").mkdir()
    with pytest.raises(FileNotFoundError, match=r"lacks nq/train\.jsonl, nq/test\.jsonl; it holds notes"):
        sources.load_text("path", tmp_path, ["nq"], SAMPLE)
    (tmp_path / "wikitext2").mkdir()
    with pytest.raises(FileNotFoundError, match=r"lacks wikitext2/valid\.txt, wikitext2/test\.txt"):
        sources.load_text("path", tmp_path, ["nq"], SAMPLE)


@pytest.mark.parametrize("name", ["../own/quiz", "quiz/../../own/quiz", "/etc", ""])
def test_a_set_that_lies_elsewhere_is_refused(own, sample, name):
    for read in (
        lambda: load("path", own, [name], sample),
        lambda: sources.load_text("path", own, [name], SAMPLE),
    ):
        with pytest.raises(ValueError, match="does not name a file below"):
            read()


@pytest.mark.parametrize("wanted", [Wanted(text="../book.md"), Wanted(sentiment="../sample/sst2")])
def test_text_and_sentiment_that_lie_elsewhere_are_refused(own, sample, wanted):
    (own.parent / "book.md").write_text("one\n\ntwo", "utf-8")
    with pytest.raises(ValueError, match="does not name a file below"):
        load("path", own, ["quiz"], sample, wanted)


def test_a_link_out_of_the_data_folder_is_refused_and_what_it_leads_to_not_shown(own, sample):
    secret = own.parent / "credentials"
    secret.write_text("aws_secret_access_key = canary-7f3a", "utf-8")
    (own / "quiz" / "test.jsonl").unlink()
    (own / "quiz" / "test.jsonl").symlink_to(secret)
    with pytest.raises(ValueError, match=r"quiz/test\.jsonl is a link that leads out of") as error:
        load("path", own, ["quiz"], sample)
    assert "canary-7f3a" not in str(error.value)
    (own / "quiz").rename(own.parent / "quiz")
    (own / "quiz").symlink_to(own.parent / "quiz")
    with pytest.raises(ValueError, match=r"quiz/train\.jsonl is a link that leads out of"):
        load("path", own, ["quiz"], sample)
