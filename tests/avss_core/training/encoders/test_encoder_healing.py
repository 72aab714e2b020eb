"""A pruned encoder learns back what the dense one says: of classes, of hidden words, or its last states."""

from typing import Any

import pytest
import torch
from transformers import AutoModel, AutoModelForMaskedLM, AutoModelForSequenceClassification, PreTrainedModel

from avss_core.surgery.pruning import prune
from avss_core.training.encoders.encoder_healing import EncoderDistillation, kind_of
from avss_core.training.encoders.encoder_text import encoder_windows
from avss_core.training.frozen_prefix import FrozenPrefix
from avss_core.training.healing import Distillation, HealingSettings
from avss_core.training.healing_text import Shares, Sources
from avss_core.training.training import train

SETTINGS = HealingSettings(epochs=6, learning_rate=1e-2, batch_size=8, rank=8, patience=9, seed=0)
KEPT = [0, 1, 4, 5]
MASK = 259
GENERATOR = torch.Generator().manual_seed(3)
TEXTS = [
    (257, *torch.randint(2, 250, (5 + index % 9,), generator=GENERATOR).tolist(), 258) for index in range(48)
]
HEADS = {"classes": AutoModelForSequenceClassification, "words": AutoModelForMaskedLM, "states": AutoModel}


def objective(student: PreTrainedModel, dense: PreTrainedModel, **options: Any) -> EncoderDistillation:
    return EncoderDistillation(student, dense, TEXTS[:32], TEXTS[32:], SETTINGS, KEPT, **options)


@pytest.mark.parametrize("kind", HEADS)
@pytest.mark.parametrize("family", ["bert", "mpnet", "roberta"])
def test_what_the_encoder_says_comes_back(tiny: Any, family: str, kind: str) -> None:
    dense = tiny(family, auto=HEADS[kind])
    pruned = prune(dense, [2, 3])
    assert kind_of(pruned) == kind
    healed, record = train(pruned, objective(pruned, dense, mask=MASK), range(4), SETTINGS)
    first, best = record.epochs[0].validation_loss, min(each.validation_loss for each in record.epochs)
    aim = objective(pruned, dense, mask=MASK)
    with torch.no_grad():
        before, after = (
            float(*aim.terms(FrozenPrefix(each), aim.validation, judging=True).values())
            for each in (pruned, healed)
        )
    assert after < 0.8 * before
    assert best <= first
    assert abs(after - best) < 0.1 * before  # what was validated is what came out


@pytest.mark.parametrize("kind", HEADS)
def test_the_loss_is_zero_against_itself_whatever_the_batch(tiny: Any, kind: str) -> None:
    dense = tiny("distilbert", 4, auto=HEADS[kind])
    aim = EncoderDistillation(dense, dense, TEXTS[:8], TEXTS[8:16], SETTINGS, range(4), mask=MASK)
    for part in (aim.train, aim.train[:1]):
        with torch.no_grad():
            (term,) = aim.terms(FrozenPrefix(dense), part, judging=True).values()
        assert abs(float(term)) < 1e-6


def test_a_frozen_prefix_changes_nothing(tiny: Any) -> None:
    dense = tiny("bert", auto=AutoModelForSequenceClassification)
    pruned = prune(dense, [2, 3])
    results = []
    for frozen in (True, False):
        settings = HealingSettings(**{**vars(SETTINGS), "frozen_prefix": frozen, "epochs": 1})
        results.append(train(pruned, objective(pruned, dense), [2, 3], settings)[0])
    pairs = zip(results[0].parameters(), results[1].parameters(), strict=True)
    assert all(torch.allclose(one, other, atol=1e-5) for one, other in pairs)


def test_what_does_not_fit_is_refused(tiny: Any, tiny_llama: PreTrainedModel) -> None:
    dense = tiny("bert")
    with pytest.raises(ValueError, match="no token that hides a word"):
        objective(prune(dense, [2, 3]), dense)
    with pytest.raises(ValueError, match=r"the map \[0, 1, 4, 5\] does not fit a student of 6"):
        objective(dense, dense, mask=MASK)
    with pytest.raises(
        ValueError, match=r"with \('words', 260, 2\) cannot learn from one with \('states', 260, 2\)"
    ):
        objective(prune(dense, [2, 3]), tiny("bert", auto=AutoModel), mask=MASK)
    with pytest.raises(ValueError, match="bert is an encoder: it predicts no next token"):
        Distillation(dense, dense, TEXTS, TEXTS, SETTINGS, range(6))


def test_windows_hold_reviews_one_by_one_and_text_between_the_ends(encoder_tokenizer: Any) -> None:
    sources = Sources(list(range(65, 100)), {}, [(f"review {number}", number % 2) for number in range(9)])
    windows = encoder_windows(encoder_tokenizer, sources, Shares(1.0, 5.0, 1.0), tokens=60, window=12, seed=0)
    assert all(ids[0] == 257 and ids[-1] == 258 and len(ids) <= 12 for ids in windows.ids)
    assert windows.counts["text"] == {"windows": 3, "tokens": 36, "wanted": 30, "too_long": 0}
    assert windows.counts["questions"]["wanted"] == 0
    assert windows.counts["reviews"]["windows"] == 3
    text = [token for ids in windows.ids[:3] for token in ids[1:-1]]
    assert text == list(range(65, 95))
    with pytest.raises(ValueError, match="shares"):
        encoder_windows(encoder_tokenizer, sources, Shares(0.0, 1.0, 0.0), tokens=60, window=12, seed=0)
