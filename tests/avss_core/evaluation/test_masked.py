"""Masked-language modelling: each token is hidden once, whatever the window and the batch."""

import math
from typing import Any

import pytest
import torch
from transformers import AutoModel

from avss_core.evaluation.masked import EVERY, hidden_places, masked_modelling

IDS = torch.randint(2, 250, (50,), generator=torch.Generator().manual_seed(2)).tolist()


def by_hand(model: Any, ids: list[int], room: int) -> float:
    """Hide the places of each turn in each window, one pass each."""
    total = 0.0
    for start in range(0, len(ids), room):
        piece = ids[start : start + room]
        for turn in range(EVERY):
            hidden = [place for place in range(len(piece)) if place % EVERY == turn]
            shown = [259 if place in hidden else token for place, token in enumerate(piece)]
            with torch.no_grad():
                logits = model(torch.tensor([[257, *shown, 258]])).logits[0]
            chances = logits.double().log_softmax(-1)
            total -= sum(float(chances[1 + place, piece[place]]) for place in hidden)
    return total


@pytest.mark.parametrize("family", ["bert", "distilbert", "electra", "mpnet", "roberta"])
def test_the_loss_is_that_of_each_token_hidden_once(tiny: Any, encoder_tokenizer: Any, family: str) -> None:
    model = tiny(family, 3)
    loss = masked_modelling(model, encoder_tokenizer, IDS, "a text", window=22)
    assert loss.tokens == 50
    assert loss.nll == pytest.approx(by_hand(model, IDS, 20), rel=1e-6)
    assert len(loss.window_means) == 3
    weights = [20, 20, 10]
    assert loss.nll == pytest.approx(sum(m * n for m, n in zip(loss.window_means, weights, strict=True)))


def test_batches_do_not_matter(tiny: Any, encoder_tokenizer: Any) -> None:
    losses = [
        masked_modelling(tiny("bert", 3), encoder_tokenizer, IDS, "", window=22, batch_size=size).nll
        for size in (1, 4, 50)
    ]
    assert losses == pytest.approx([losses[0]] * 3, rel=1e-6)


def test_a_model_that_is_sure_of_nothing_costs_the_log_of_its_words(
    tiny: Any, encoder_tokenizer: Any
) -> None:
    model = tiny("bert", 2, tie_word_embeddings=False)
    with torch.no_grad():
        for tensor in model.get_output_embeddings().parameters():
            tensor.zero_()
    loss = masked_modelling(model, encoder_tokenizer, IDS, "")
    assert loss.nll_per_token == pytest.approx(math.log(260))


@pytest.mark.parametrize("length", range(3, 40))
def test_over_all_turns_each_place_between_the_ends_is_hidden_once(length: int) -> None:
    turns = [hidden_places(length, turn) for turn in range(EVERY)]
    places = [place for turn in turns[: length - 2] for place in turn]
    assert sorted(places) == list(range(1, length - 1))
    assert all(0 < place < length for turn in turns for place in turn)


def test_what_predicts_no_hidden_word_is_refused(tiny: Any, encoder_tokenizer: Any, tiny_llama: Any) -> None:
    for model in (tiny("bert", 2, auto=AutoModel), tiny_llama):
        with pytest.raises(ValueError, match=f"{type(model).__name__} predicts no hidden word"):
            masked_modelling(model, encoder_tokenizer, IDS, "")
    with pytest.raises(ValueError, match="a text of 0 tokens has nothing to predict"):
        masked_modelling(tiny("bert", 2), encoder_tokenizer, [], "")
