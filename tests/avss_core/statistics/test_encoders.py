"""Statistics and scores of encoders: padding does not count, nor how the text is dealt out."""

from typing import Any

import pytest
import torch

from avss_core.models.activations import observed, run_blocks
from avss_core.models.architectures import context_length
from avss_core.models.batches import Batch, pad, text_batches
from avss_core.models.encoding import encode_whole, frame
from avss_core.models.families import ENCODERS
from avss_core.scores.layer_scores import score_layers
from avss_core.scores.scores import SCORES
from avss_core.statistics.collection import collect_statistics
from avss_core.statistics.statistics import Thresholds

GENERATOR = torch.Generator().manual_seed(1)
TEXTS = [torch.randint(2, 250, (4 + 3 * (i % 5),), generator=GENERATOR).tolist() for i in range(20)]
THRESHOLDS = Thresholds(absolute=1e-2, relative=0.1)
ACTIVATIONS = [
    name for name, score in SCORES.items() if score.needs == "statistics" and name != "avss_authors"
]


def measured(model: Any, batches: list[Batch]) -> torch.Tensor:
    layers = collect_statistics(model, batches, sites=["output", "update"], thresholds=THRESHOLDS)
    figures = [
        [*layer.block.mean, *site.values.mean, *site.values.variance(), *site.tokens.mean]
        for layer in layers
        for site in layer.sites.values()
    ]
    return torch.tensor(figures, dtype=torch.float64)


def dealt(size: int, **padding: Any) -> list[Batch]:
    return [pad(TEXTS[i : i + size], **padding) for i in range(0, len(TEXTS), size)]


@pytest.mark.parametrize("family", sorted(ENCODERS))
def test_neither_padding_nor_the_dealing_of_texts_counts(tiny: Any, family: str) -> None:
    model = tiny(family, 3)
    alone = measured(model, dealt(1))
    assert alone.isfinite().all()
    for batches in (dealt(7), dealt(20, left=True), dealt(20, fill=9), dealt(4)[::-1]):
        assert torch.allclose(measured(model, batches), alone, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("family", sorted(ENCODERS))
def test_a_block_reads_what_stands_behind_a_token(tiny: Any, family: str) -> None:
    """Bidirectional: another last token changes the first position, one in the padding does not."""
    model = tiny(family, 2)

    def first(ids: list[int], batch: Batch) -> torch.Tensor:
        states: list[torch.Tensor] = []
        with observed(model, lambda _layer, seen: states.append(seen["output"])), torch.no_grad():
            run_blocks(model, batch)
        return states[-1][0, 0]

    one, other, longer = ([5, 6, 7], [5, 6, 8], [5, 6, 7, 9, 10])
    plain = first(one, pad([one]))
    assert (first(other, pad([other])) - plain).abs().max() > 1e-3
    assert torch.allclose(first(one, pad([one, longer])), plain, atol=1e-5)


def test_positions_of_roberta_start_behind_its_padding(tiny: Any) -> None:
    model = tiny("roberta", 2)
    ids = torch.tensor([TEXTS[4]])
    with torch.no_grad():
        own = model.base_model(ids).last_hidden_state
        batch = pad([TEXTS[4]])
        ours = model.base_model(**batch.inputs(torch.device("cpu"), 2)).last_hidden_state
    assert torch.allclose(own, ours, atol=1e-6)
    assert context_length(model.config) == 128


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_every_score_of_activations_takes_an_encoder(tiny: Any, encoder_tokenizer: Any, name: str) -> None:
    texts = ["The sky is blue, since air scatters blue light more than red. " * 12]
    scores = [
        score_layers(
            tiny("distilbert", 4), encoder_tokenizer, texts, name, tokens=600, window=60, batch_size=b
        )
        for b in (1, 5)
    ]
    assert len(scores[0].order) == 4
    assert torch.allclose(scores[0].values, scores[1].values, rtol=1e-5)


def test_a_planted_identity_goes_first(tiny: Any, encoder_tokenizer: Any) -> None:
    model = tiny("distilbert", 4)
    block = model.distilbert.transformer.layer[2]
    with torch.no_grad():
        for part in (block.attention.out_lin, block.ffn.lin2):
            part.weight.zero_()
            part.bias.zero_()
        for norm in (
            model.distilbert.transformer.layer[1].output_layer_norm,
            block.sa_layer_norm,
            block.output_layer_norm,
        ):
            norm.weight.fill_(1.0)
            norm.bias.zero_()
    for name in ("avss", "block_influence", "relative_magnitude"):
        assert (
            score_layers(model, encoder_tokenizer, ["A planted layer. " * 40], name, window=60).order[0] == 2
        )


def test_windows_stand_between_the_tokens_around_a_text(encoder_tokenizer: Any, tokenizer: Any) -> None:
    assert frame(encoder_tokenizer) == ([257], [258])
    assert frame(tokenizer) is None
    batches = text_batches(encoder_tokenizer, ["abcdefgh"], tokens=99, window=6, batch_size=2, encoder=True)
    rows = [
        ids[real].tolist() for batch in batches for ids, real in zip(batch.ids, batch.attention, strict=True)
    ]
    assert all(row[0] == 257 and row[-1] == 258 and len(row) <= 6 for row in rows)
    assert encoder_tokenizer.decode([token for row in rows for token in row[1:-1]]) == "abcdefgh\n\n"
    assert all((batch.counted == batch.attention).all() for batch in batches)
    parts = [
        text_batches(
            encoder_tokenizer, ["abcdefgh"], tokens=99, window=6, batch_size=1, part=i, parts=3, encoder=True
        )
        for i in range(3)
    ]
    assert [b.ids.tolist() for part in parts for b in part] == [[row] for row in rows]
    with pytest.raises(ValueError, match="a window of 2 tokens has no room"):
        text_batches(encoder_tokenizer, ["a"], tokens=9, window=2, batch_size=1, encoder=True)


def test_a_causal_model_with_the_tokenizer_of_an_encoder_reads_text_as_other_causal_models_do(
    encoder_tokenizer: Any,
) -> None:
    (batch,) = text_batches(encoder_tokenizer, ["abcdefgh"], tokens=99, window=6, batch_size=4)
    first, second = (ids[real].tolist() for ids, real in zip(batch.ids, batch.attention, strict=True))
    assert (first[0], 257 in second, 258 in [*first, *second]) == (257, False, False)
    assert batch.counted[:, 0].tolist() == [False, False]


def test_a_text_that_is_too_long_loses_its_end_alone(encoder_tokenizer: Any, tokenizer: Any) -> None:
    assert encode_whole(encoder_tokenizer, "abcdef", 5) == [
        257,
        *encode_whole(encoder_tokenizer, "abc")[1:-1],
        258,
    ]
    with pytest.raises(ValueError, match="it is not an encoder's"):
        encode_whole(tokenizer, "a")
