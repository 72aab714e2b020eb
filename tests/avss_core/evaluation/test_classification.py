"""Sentiment by classification: a head of the checkpoint's own, and one that is fitted."""

from typing import Any

import pytest
import torch
from transformers import AutoModel, AutoModelForSequenceClassification

from avss_core.evaluation.classification import LinearHead, has_classes, positive_probabilities, text_means

TEXTS = ["good", "a bad film, and long", "fine", "", "dull " * 9]


@pytest.mark.parametrize("family", ["bert", "distilbert", "electra", "mpnet", "roberta"])
def test_the_head_of_the_checkpoint_is_the_library_s(tiny: Any, encoder_tokenizer: Any, family: str) -> None:
    model = tiny(family, 2, auto=AutoModelForSequenceClassification)
    assert has_classes(model)
    with torch.no_grad():
        expected = [
            float(
                model(
                    **encoder_tokenizer(text, return_tensors="pt", return_token_type_ids=False)
                ).logits.softmax(-1)[0, 1]
            )
            for text in TEXTS
        ]
    for size in (1, 5):
        assert positive_probabilities(model, encoder_tokenizer, TEXTS, batch_size=size) == pytest.approx(
            expected, abs=1e-6
        )


def test_means_leave_padding_out(tiny: Any, encoder_tokenizer: Any) -> None:
    model = tiny("bert", 2, auto=AutoModel)
    with torch.no_grad():
        expected = torch.stack(
            [
                model(encoder_tokenizer(text, return_tensors="pt").input_ids).last_hidden_state[0].mean(0)
                for text in TEXTS
            ]
        )
    assert torch.allclose(text_means(model, encoder_tokenizer, TEXTS), expected, atol=1e-5)


def test_a_fitted_head_tells_what_the_states_tell(tiny: Any, encoder_tokenizer: Any) -> None:
    model = tiny("distilbert", 2, auto=AutoModel)
    texts = [f"{'zzzz' if number % 2 else 'aaaa'} {number}" for number in range(60)]
    labels = [number % 2 for number in range(60)]
    head = LinearHead.fit(text_means(model, encoder_tokenizer, texts[:40]), labels[:40])
    assert head.rows == 40
    chances = positive_probabilities(model, encoder_tokenizer, texts[40:], head)
    assert [chance > 0.5 for chance in chances] == [bool(label) for label in labels[40:]]


def test_without_a_head_or_with_one_label_nothing_is_said(tiny: Any, encoder_tokenizer: Any) -> None:
    model = tiny("bert", 2, auto=AutoModel)
    assert not has_classes(model)
    assert not has_classes(tiny("bert", 2, auto=AutoModelForSequenceClassification, num_labels=3))
    with pytest.raises(ValueError, match="BertModel has no head of two classes"):
        positive_probabilities(model, encoder_tokenizer, TEXTS)
    with pytest.raises(ValueError, match=r"a head needs texts of two labels, got \[1\]"):
        LinearHead.fit(torch.randn(3, 4), [1, 1, 1])
