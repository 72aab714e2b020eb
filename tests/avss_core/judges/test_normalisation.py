import unicodedata
from collections import Counter
from collections.abc import Callable, Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rouge_score.rouge_scorer import RougeScorer

from avss_core.judges.normalisation import contains, exact_match, f1, normalise, rouge_l

ASCII = st.text(st.characters(max_codepoint=127))
WORDS = st.lists(st.sampled_from(["red", "blue", "green", "cat", "dog"]), min_size=1, max_size=8)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", ""),
        (" \t\n", ""),
        ("?!... --", ""),
        ("+ = $ ^ ` ~ |", ""),
        ("The Beatles", "beatles"),
        ("a theory of an anthem", "theory of anthem"),
        ("J. R. R. Tolkien", "j r r tolkien"),
        ("well-known", "well known"),
        ("O'Brien\u2019s", "o brien s"),
        ("May 18, 2018", "may 18 2018"),
        ("Stra\u00dfe", "strasse"),
        ("\ufb01ne", "fine"),
        ("\uff21\uff11", "a1"),
        ("rock \u00b4n\u00b4 roll", "rock n roll"),
        ("soft\u00adhyphen", "softhyphen"),
        ("one\x00two_three", "one two three"),
        ("e\u200d\u0301", "\u00e9"),
    ],
)
def test_normalise(text: str, expected: str) -> None:
    assert normalise(text) == expected


@pytest.mark.parametrize("text", ["A", "the", "The The", "an A"])
def test_articles_that_are_all_there_is_stay(text: str) -> None:
    assert normalise(text) == text.lower()


@pytest.mark.parametrize(
    "text",
    ["東京", "Москва", "नमस्ते", "القاهرة", "서울", "ירושלים", "กรุงเทพ", "Αθήνα"],
)
def test_an_answer_in_another_script_keeps_its_letters_and_marks(text: str) -> None:
    folded = unicodedata.normalize("NFKC", text.casefold())
    assert normalise(f"«{text}»!") == folded
    assert exact_match(text, [text])
    assert rouge_l(text, [text]) == f1(text, [text]) == 1.0


@given(st.text())
def test_normalise_settles(text: str) -> None:
    once = normalise(text)
    assert normalise(once) == once
    assert once == " ".join(once.split())


@given(st.text())
def test_composed_and_decomposed_text_is_the_same(text: str) -> None:
    forms = {normalise(unicodedata.normalize(form, text)) for form in ("NFC", "NFD", "NFKC", "NFKD")}
    assert forms == {normalise(text)}


@given(st.text(st.characters(categories=["L", "N"], exclude_characters="\uff9e\uff9f"), min_size=1))
def test_letters_and_numbers_never_normalise_to_nothing(text: str) -> None:
    # Arabic presentation forms of a lone mark count as letters and decompose to a space and that mark.
    if any(unicodedata.category(letter)[0] in "LN" for letter in unicodedata.normalize("NFKC", text)):
        assert normalise(text) != ""


@pytest.mark.parametrize(
    ("answer", "golds", "expected"),
    [
        ("The Beatles.", ["beatles"], True),
        ("beatles", ["Queen", "The Beatles"], True),
        ("the beatles band", ["beatles"], False),
        ("e\u0301cole", ["\u00c9COLE"], True),
        ("", ["beatles"], False),
        ("", [""], False),
        ("...", ["?!"], False),
        ("beatles", [], False),
    ],
)
def test_exact_match(answer: str, golds: list[str], expected: bool) -> None:
    assert exact_match(answer, golds) is expected


@pytest.mark.parametrize(
    ("answer", "golds", "expected"),
    [
        ("It was Paris, France", ["Paris"], True),
        ("It was Paris", ["Rome", "paris"], True),
        ("Parisian", ["Paris"], False),
        ("in 1990s", ["1990"], False),
        ("J. R. R. Tolkien wrote it", ["J.R.R. Tolkien"], True),
        ("the capital of a country", ["capital of the country"], True),
        ("Paris", ["Paris, France"], False),
        ("", ["Paris"], False),
        ("", [""], False),
        ("Paris", ["", "..."], False),
        ("Paris", [], False),
    ],
)
def test_contains(answer: str, golds: list[str], expected: bool) -> None:
    assert contains(answer, golds) is expected


def test_f1_by_hand() -> None:
    # Two of the answer's three tokens and of the gold answer's four are shared: 2 * 2 / 7.
    assert f1("red blue cat", ["red blue green dog"]) == pytest.approx(4 / 7)
    # A token counts as often as both sides have it.
    assert f1("red red", ["red blue"]) == 0.5
    assert f1("The red!", ["a Red"]) == 1.0
    assert f1("red", ["cat", "red dog", "blue"]) == pytest.approx(2 / 3)


@given(WORDS, WORDS)
def test_f1_is_the_harmonic_mean_of_precision_and_recall(answer: list[str], gold: list[str]) -> None:
    shared = sum(min(count, Counter(gold)[word]) for word, count in Counter(answer).items())
    precision, recall = shared / len(answer), shared / len(gold)
    expected = 2 * precision * recall / (precision + recall) if shared else 0.0
    assert f1(" ".join(answer), [" ".join(gold)]) == pytest.approx(expected)


def test_rouge_l_by_hand() -> None:
    # The longest common subsequence of "red cat dog" and "red blue dog green" is "red dog": 2 * 2 / (3 + 4).
    assert rouge_l("red cat dog", ["red blue dog green"]) == pytest.approx(4 / 7)
    assert rouge_l("dog red", ["red dog"]) == 0.5
    assert rouge_l("cat", ["dog", "cat"]) == 1.0


@given(ASCII, st.lists(ASCII, min_size=1, max_size=3))
def test_rouge_l_is_the_package_s_on_ascii(answer: str, golds: list[str]) -> None:
    package = RougeScorer(["rougeL"], use_stemmer=False)
    assert rouge_l(answer, golds, signs=False) == package.score_multi(golds, answer)["rougeL"].fmeasure


@pytest.mark.parametrize("score", [f1, rouge_l])
@pytest.mark.parametrize(
    ("answer", "golds"), [("", ["cat"]), ("", [""]), ("?", ["?"]), ("cat", ["."]), ("cat", [])]
)
def test_scores_without_words_are_zero(
    score: Callable[[str, Sequence[str]], float], answer: str, golds: list[str]
) -> None:
    value = score(answer, golds)
    assert value == 0.0
    assert type(value) is float


@pytest.mark.parametrize("function", [exact_match, contains, f1, rouge_l])
@pytest.mark.parametrize("answer", ["", "Paris"])
def test_one_string_as_golds_is_refused(
    function: Callable[[str, Sequence[str]], object], answer: str
) -> None:
    with pytest.raises(TypeError, match=r"'Paris': write \['Paris'\]"):
        function(answer, "Paris")
