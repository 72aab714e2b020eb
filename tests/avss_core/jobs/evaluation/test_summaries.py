"""What the answers of one model add up to."""

import pytest

from avss_core.jobs.evaluation.summaries import summarise_variant


def review(positive: float, label: int) -> dict:
    predicted = int(positive > 0.5)
    return {"predicted": predicted, "confidence": max(positive, 1 - positive), "label": label,
            "correct": predicted == label}  # fmt: skip


def summarised(reviews: list[dict]) -> dict:
    text = {"nll": 2.0, "window_means": [2.0]}
    record = {"sets": {}, "text": text, "sentiment": {"answers": reviews}}
    return summarise_variant(record, seed=0)["sentiment"]


def test_the_auroc_of_sentiment_is_of_the_probability_of_positive_against_the_label() -> None:
    # A model that says positive to all is right as often as chance, and yet ranks three of four pairs.
    found = summarised([review(0.9, 1), review(0.7, 1), review(0.8, 0), review(0.6, 0)])
    assert found["accuracy"]["value"] == 0.5
    assert found["auroc"]["value"] == 0.75
    # With answers of both kinds it is the same order: 0.9 > 0.2 and 0.1, 0.15 > 0.1 alone.
    found = summarised([review(0.9, 1), review(0.15, 1), review(0.2, 0), review(0.1, 0)])
    assert found["auroc"]["value"] == 0.75


def test_the_auroc_of_sentiment_has_an_interval_and_needs_both_labels() -> None:
    found = summarised([review(0.5 + 0.01 * i, i % 2) for i in range(30)])["auroc"]
    assert 0 <= found["low"] < found["value"] < found["high"] <= 1
    # 15 positive reviews, each above the negative ones before it: 1 + 2 + ... + 15 of 225 pairs.
    assert found["value"] == pytest.approx(120 / 225)
    assert summarised([review(0.9, 1)])["auroc"] == {"value": None, "low": None, "high": None}
