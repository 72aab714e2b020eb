import pytest


@pytest.mark.parametrize("name", ["wikitext2", "pile", "hackernews", "null"])
def test_the_hub_has_these_texts(load, name):
    assert load("data.source=hub", f"data.text={name}").data.text == (None if name == "null" else name)


def test_a_folder_may_have_any_text_and_sentiment_set(load):
    data = load("data.source=path", "data.text=my/book.txt", "data.sentiment=reviews").data
    assert (data.text, data.sentiment) == ("my/book.txt", "reviews")


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        (
            ["data.source=hub", "data.text=hackernew"],
            "--set data.text: unknown text of the Hub 'hackernew': did you mean hackernews? "
            "known: wikitext2, pile, hackernews (got 'hackernew')",
        ),
        (
            ["data.source=hub", "data.sentiment=imdb"],
            "--set data.sentiment: unknown sentiment set of the Hub 'imdb': known: sst2 (got 'imdb')",
        ),
        (
            ["data.text=pile"],
            "--set data.text: the sample has one text: leave it null, or set data.source to path or hub "
            "(got 'pile')",
        ),
        (
            ["evaluate.window=64", "evaluate.stride=65"],
            "--set evaluate.stride: a stride beyond the window of 64 tokens would leave text out (got 65)",
        ),
        (
            ["evaluate.stride=0"],
            "--set evaluate.stride: Input should be greater than or equal to 1 (got 0)",
        ),
        (
            ["data.source=hub", "data.text=pile", "heal.tokens=199000", "heal.validation_tokens=1000"],
            "heal: 110240 tokens of text are asked for, and data.characters is 200000: raise it to 661440",
        ),
        (
            ["heal.text=0", "heal.questions=0", "heal.reviews=0"],
            "--set heal.reviews: the shares text, own_text, questions and reviews are all 0: "
            "raise one of them (got 0)",
        ),
        (
            ["mitigate.cross_entropy=0", "mitigate.alpha=0", "mitigate.gamma=0"],
            "mitigate.anchor: the weights cross_entropy, alpha, gamma, brier and anchor are all 0: "
            "raise one of them (got 0.0)",
        ),
        (
            ["mitigate.base=healed", "heal.enabled=false"],
            "mitigate: the base is the healed model, and heal.enabled is false: set it to true",
        ),
        (
            ["data.source=hub", "data.text=pile", "evaluate.tokens=99488"],
            "evaluate: 100000 tokens of text are asked for, and data.characters is 200000: "
            "raise it to 600000",
        ),
    ],
)
def test_settings_that_do_not_go_together_are_refused(refused, changes, problem):
    assert refused(*changes) == [problem]


def test_a_stride_of_a_whole_window_is_allowed(load):
    assert load("evaluate.window=64", "evaluate.stride=64").evaluate.stride == 64


@pytest.mark.parametrize("reading", ["eavss_contrst", "Eavss"])
def test_an_unknown_reading_has_a_near_match(refused, reading):
    (line,) = refused(f"localize.reading={reading}")
    assert f"unknown EAVSS reading {reading!r}: did you mean eavss" in line


def test_every_registered_name_is_accepted(load):
    from avss_core.hallucination.localization import READINGS
    from avss_core.judges.judges import JUDGES
    from avss_core.scores.scores import SCORES

    for key, names in {
        "score.name": [*SCORES, "cheapest"],
        "localize.reading": READINGS,
        "collect.judge": [*JUDGES, "default"],
        "evaluate.judge": [*JUDGES, "default"],
    }.items():
        for name in names:
            assert load(f"{key}={name}").flat()[key] == name
