import pytest
import torch

from avss_core.evaluation import sentiment
from avss_core.evaluation.sentiment import (
    LABEL_WORDS,
    balanced_demonstrations,
    sentiment_probabilities,
    sentiment_prompt,
)

TEXTS = [
    "good",
    "bad film",
    "it was fine, I think",
    "dull",
    "a joy to watch",
    "no",
    "5 of 5",
    "why",
    "?",
    "meh",
]
UNEQUAL_WORDS = (" bad", " good")
"""A sum in place of the mean would always choose the shorter one, with the models of these tests."""


def predict_sentiment(*arguments, **settings) -> list[int]:
    return [int(chance > 0.5) for chance in sentiment_probabilities(*arguments, **settings)]


@torch.inference_mode()
def naive_mean(model, tokenizer, prompt: str, word: str) -> float:
    ids = tokenizer(prompt + word).input_ids
    start = len(tokenizer(prompt).input_ids)
    chances = model(torch.tensor([ids]), use_cache=False).logits[0].double().log_softmax(-1)
    return sum(float(chances[place - 1, ids[place]]) for place in range(start, len(ids))) / (len(ids) - start)


def naive_leanings(model, tokenizer, shots: str, words: tuple[str, str]) -> list[float]:
    leanings = []
    for text in TEXTS:
        negative, positive = (
            naive_mean(model, tokenizer, f"{shots}Review: {text}\nSentiment:", w) for w in words
        )
        leanings.append(positive - negative)
    return leanings


def test_the_prompt_ends_where_the_label_word_follows():
    assert sentiment_prompt("Fine.") + LABEL_WORDS[1] == "Review: Fine.\nSentiment: positive"
    assert LABEL_WORDS == (" negative", " positive")


@pytest.mark.parametrize(
    ("demonstrations", "shots"),
    [
        ([], [""]),
        (
            [("ok", 1), ("bah", 0)],
            [
                "Review: ok\nSentiment: positive\n\nReview: bah\nSentiment: negative\n\n",
                "Review: bah\nSentiment: negative\n\nReview: ok\nSentiment: positive\n\n",
            ],
        ),
    ],
)
@pytest.mark.parametrize("words", [LABEL_WORDS, UNEQUAL_WORDS])
def test_the_more_likely_label_wins(demonstrations, shots, words, tiny_model, tokenizer, monkeypatch):
    monkeypatch.setattr(sentiment, "LABEL_WORDS", words)
    orders = [
        naive_leanings(
            tiny_model,
            tokenizer,
            each.replace(LABEL_WORDS[0], words[0]).replace(LABEL_WORDS[1], words[1]),
            words,
        )
        for each in shots
    ]
    expected = [int(sum(both) > 0) for both in zip(*orders, strict=True)]
    assert predict_sentiment(tiny_model, tokenizer, demonstrations, TEXTS) == expected
    assert predict_sentiment(tiny_model, tokenizer, demonstrations, TEXTS, batch_size=3) == expected


@pytest.mark.parametrize("words", [LABEL_WORDS, UNEQUAL_WORDS])
def test_probabilities_are_the_softmax_over_both_labels(words, tiny_model, tokenizer, monkeypatch):
    monkeypatch.setattr(sentiment, "LABEL_WORDS", words)
    found = sentiment_probabilities(tiny_model, tokenizer, [], TEXTS)
    for text, probability in zip(TEXTS, found, strict=True):
        means = [naive_mean(tiny_model, tokenizer, sentiment_prompt(text), word) for word in words]
        expected = torch.tensor(means, dtype=torch.float64).softmax(0)[1]
        assert probability == pytest.approx(float(expected), abs=1e-5)


def test_a_model_without_preference_finds_both_labels_equally_likely(tiny, tokenizer):
    model = tiny("llama", layers=1)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.zero_()
    assert sentiment_probabilities(model, tokenizer, [], ["good", "bad"]) == [0.5, 0.5]


def test_the_labels_of_these_tests_differ(tiny_model, tokenizer):
    assert {each > 0 for each in naive_leanings(tiny_model, tokenizer, "", UNEQUAL_WORDS)} == {False, True}


def test_a_tie_is_negative(tiny, tokenizer):
    model = tiny("llama", layers=1)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.zero_()
    assert predict_sentiment(model, tokenizer, [], ["good"]) == [0]


def test_no_text_has_no_label(tiny_llama, tokenizer):
    assert predict_sentiment(tiny_llama, tokenizer, [("ok", 1)], []) == []
    assert sentiment_probabilities(tiny_llama, tokenizer, [("ok", 1)], []) == []


def test_progress_counts_two_prompts_a_text(tiny_llama, tokenizer):
    done: list[int] = []
    predict_sentiment(tiny_llama, tokenizer, [], TEXTS[:3], batch_size=4, progress=done.append)
    assert done == [4, 2]


ROWS = [
    {"text": name, "label": label}
    for name, label in (("a", 1), ("b", 1), ("c", 0), ("d", -1), ("e", 0), ("f", 1))
]


@pytest.mark.parametrize(
    ("shots", "expected"),
    [
        (0, []),
        (1, [("c", 0)]),
        (2, [("c", 0), ("a", 1)]),
        (3, [("c", 0), ("a", 1), ("e", 0)]),
        (4, [("c", 0), ("a", 1), ("e", 0), ("b", 1)]),
        (9, [("c", 0), ("a", 1), ("e", 0), ("b", 1)]),
    ],
)
def test_demonstrations_take_the_labels_in_turn(shots, expected):
    assert balanced_demonstrations(ROWS, shots) == expected


def test_rows_of_one_label_or_none_give_no_demonstration():
    assert balanced_demonstrations([], 4) == []
    assert balanced_demonstrations([{"text": "a", "label": 1}], 4) == []


def test_the_order_of_a_pair_of_demonstrations_changes_nothing(tiny_model, tokenizer):
    shown = [("bah", 0), ("ok", 1)]
    swapped = [("ok", 1), ("bah", 0)]
    found = sentiment_probabilities(tiny_model, tokenizer, shown, TEXTS)
    assert found == pytest.approx(sentiment_probabilities(tiny_model, tokenizer, swapped, TEXTS), abs=1e-6)
