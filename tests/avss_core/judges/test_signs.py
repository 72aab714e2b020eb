import unicodedata

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from avss_core.judges.judges import JUDGES
from avss_core.judges.normalisation import contradicts, exact_match, normalise, question_form
from avss_core.judges.units import other_units

SIGNED = st.text(st.sampled_from("aabcxl0015 5  +-<>=*/^.,#()√¬±≤≠\u2212\u2013!%$€°_'♭minus"), max_size=14)
RAISED = st.text(st.sampled_from("aclx0152²⁻⁺½₂ +-^/."), max_size=8)
OFFLINE = [name for name in JUDGES if name != "fitted"]

DIFFERENT = [
    ("5", "-5"),
    ("-5", "5"),
    ("\u22125", "5"),
    ("C#", "C++"),
    ("C", "C++"),
    ("C", "C#"),
    ("x > 3", "x < 3"),
    ("x >= 3", "x > 3"),
    ("> 3", "< 3"),
    ("30 °C", "-30 °C"),
    ("30°C", "-30°C"),
    ("It is 30°C there.", "-30°C"),
    ("-0.5", "0.5"),
    ("0.5", "5"),
    ("1/2", "2"),
    ("a + b", "a * b"),
    ("10^-5", "10^5"),
    ("O-", "O+"),
    ("B", "B♭"),
    ("2", "√2"),
    ("-$5", "$5"),
    ("€5", "$5"),
    ("5 euros", "$5"),
    ("£5 million", "5 million dollars"),
    ("5%", "$5"),
    ("30 °F", "30 °C"),
    ("30 degrees Fahrenheit", "30°C"),
    ("102", "10²"),
    ("102", "10^2"),
    ("10", "10²"),
    ("10⁵", "10⁻⁵"),
    ("15", "1.5"),
    ("12", "1/2"),
    ("Na", "Na+"),
    ("Na⁺", "Na"),
    ("Cl", "Cl-"),
    ("Cl⁻", "Cl"),
    ("Ca", "Ca2+"),
    ("Fe2+", "Fe3+"),
    ("NO3", "NO3-"),
]
SAME = [
    ("1,000", "1000"),
    ("1,234,567.50", "1234567.50"),
    ("minus 5", "-5"),
    ("\u22125", "-5"),
    ("5.0", "5"),
    (".5", "0.5"),
    ("x>3", "x > 3"),
    ("x ≤ 3", "x <= 3"),
    ("C++.", "c++"),
    ("(C#)", "C#"),
    ("5%", "5"),
    ("$1,000", "1000"),
    ("10²", "10^2"),
    ("10^(-5)", "10⁻⁵"),
    ("mc²", "mc^2"),
    ("mc2", "mc²"),
    ("km²", "km2"),
    ("H₂O", "H2O"),
    ("2½", "2 1/2"),
    ("Na⁺", "Na+"),
    ("Cl⁻", "Cl-"),
    ("Ca²⁺", "Ca2+"),
    ("SO₄²⁻", "SO42-"),
    ("B12", "b12"),
    ("pre- and post-war", "pre and post war"),
    ("B12- and iron", "b12 and iron"),
    ("re-", "re"),
    ("+5", "5"),
    ("#1", "1"),
    ("2\u00d72", "2*2"),
    ("1939\u20131945", "1939-1945"),
    ("2015/16", "2015-16"),
    ("well-known", "well known"),
    ("**Paris**", "Paris"),
    ("<b>Paris</b>", "b Paris b"),
    ("> Paris", "Paris"),
    ("-Paris", "Paris"),
    ("= = Paris = =", "Paris"),
    ("v1.2.3", "v1 2 3"),
    ("Section 3.", "section 3"),
]


@pytest.mark.parametrize("judge", OFFLINE)
@pytest.mark.parametrize(("answer", "gold"), DIFFERENT)
def test_another_sign_is_another_answer(judge: str, answer: str, gold: str) -> None:
    assert JUDGES[judge].verdicts([("What is it?", answer, [gold])]) == [False]


@pytest.mark.parametrize("judge", OFFLINE)
@pytest.mark.parametrize(("answer", "gold"), SAME)
def test_another_spelling_is_the_same_answer(judge: str, answer: str, gold: str) -> None:
    assert JUDGES[judge].verdicts([("What is it?", answer, [gold]), ("?", gold, [answer])]) == [True, True]


def test_signs_count_against_every_gold_answer_or_not_at_all() -> None:
    assert not contradicts("-5", ["5", "-5"])
    assert not contradicts("C or C++", ["C"])
    assert not contradicts("Paris", ["-5"])
    assert contradicts("It is C#.", ["C++"])
    assert contradicts("5", ["-5", "minus 5"])
    assert not contradicts("5", [])


@pytest.mark.parametrize(
    ("answer", "gold"),
    [
        ("$5", "5 dollars"),
        ("US$5", "$5"),
        ("5 percent", "5%"),
        ("30°", "30 °C"),
        ("5 or €6", "$5 or €6"),
        ("5", "$5"),
    ],
)
def test_the_same_unit_or_none_is_no_contradiction(answer: str, gold: str) -> None:
    assert not contradicts(answer, [gold])
    assert not contradicts(gold, [answer])
    assert not contradicts("€5", ["$5", "€5"])


def test_a_fraction_stands_apart_from_its_whole() -> None:
    assert normalise("2½ cups") == normalise("2 1/2 cups") != normalise("21/2 cups")


def test_an_article_beside_an_operator_is_a_name() -> None:
    assert normalise("a + b") == "a + b"
    assert not exact_match("a > b", ["b > a"])
    assert normalise("a theory of the sum") == "theory of sum"


@settings(max_examples=2000)
@given(SIGNED)
def test_signs_settle(text: str) -> None:
    assert normalise(normalise(text)) == normalise(text)


@settings(max_examples=1000)
@given(SIGNED)
def test_composed_and_decomposed_signs_are_the_same(text: str) -> None:
    forms = {normalise(unicodedata.normalize(form, text)) for form in ("NFC", "NFD", "NFKC", "NFKD")}
    assert forms == {normalise(text)}


@settings(max_examples=1000)
@given(RAISED)
def test_powers_and_charges_settle(text: str) -> None:
    assert normalise(normalise(text)) == normalise(text)


@given(SIGNED, SIGNED)
def test_a_unit_is_another_in_both_directions_and_never_its_own(one: str, other: str) -> None:
    assert other_units(one, other) == other_units(other, one)
    assert not other_units(one, one)


@given(SIGNED)
def test_a_sign_alone_is_no_word(text: str) -> None:
    assert (normalise(text) == "") == (normalise(text, signs=False) == "")


@given(st.text(st.characters(categories=["L", "Nd", "Zs"], max_codepoint=0x24F)))
def test_a_text_without_punctuation_has_no_signs(text: str) -> None:
    assert normalise(text) == normalise(text, signs=False) == question_form(text)


@pytest.mark.parametrize(
    "questions",
    [
        ["What is C?", "What is C++?", "What is C#?"],
        ["What is 2+2?", "What is 2-2?", "What is 2*2?", "What is 2/2?", "What is 2^2?", "What is 2%2?"],
        ["What is i+i?", "What is i-i?", "What is i*i?", "What is i/i?", "What is i < i?", "What is i > i?"],
        [
            "What does $ mean?",
            "What does € mean?",
            "What does & mean?",
            "What does | mean?",
            "What does mean?",
        ],
        ["What is x^2?", "What is x2?", "What is x+2?"],
        ["What is 10^2?", "What is 102?", "What is 10-2?"],
        ["What is Na?", "What is Na+?", "What is Cl?", "What is Cl-?"],
        ["What is 5?", "What is -5?", "What is 5°?", "What is 0.5?", "What is 50?"],
    ],
)
def test_questions_apart_by_signs_have_other_forms(questions: list[str]) -> None:
    assert len(set(map(question_form, questions))) == len(questions)


@pytest.mark.parametrize("text", ["what is X-ray", "What is (the) x ray?!", "What - is “X\u2013ray” ?"])
def test_punctuation_makes_no_other_question(text: str) -> None:
    assert question_form(text) == "what is x ray"
