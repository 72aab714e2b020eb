"""What a user of the library asks for in one call is what the parts give, in the way of the pipeline."""

from dataclasses import replace
from inspect import signature
from pathlib import Path

import pytest
import torch
from ruamel.yaml import YAML
from transformers import PreTrainedModel, PreTrainedTokenizerFast

from avss_core.evaluation.perplexity import language_modelling
from avss_core.models.batches import token_stream, windows
from avss_core.models.views import without_layers
from avss_core.scores.choice import choose_layers
from avss_core.scores.evidence import Evidence
from avss_core.scores.layer_scores import REMOVAL_TOKENS, THRESHOLDS, LayerScores, score_layers
from avss_core.scores.scores import SCORES
from avss_core.statistics.collection import collect_statistics
from avss_core.statistics.statistics import Thresholds

TEXTS = ["The cat sat on the mat and looked at the door.", "", "It rained, so nobody came." * 3]


@pytest.mark.parametrize("name", SCORES)
def test_every_score_can_be_asked_for(
    tiny_model: PreTrainedModel, tokenizer: PreTrainedTokenizerFast, name: str
) -> None:
    found = score_layers(tiny_model, tokenizer, TEXTS, name, window=32, tokens=96)
    assert found.score == name
    assert found.values.shape == (6,)
    assert found.values.isfinite().all()
    assert found.lowest(0.5) == choose_layers(found.values, 0.5)
    assert sorted(found.order[:3]) == found.lowest(0.5)


@pytest.mark.parametrize("name", ["avss", "avss_output"])
def test_it_is_the_score_of_the_statistics(
    tiny_gpt2: PreTrainedModel, tokenizer: PreTrainedTokenizerFast, name: str
) -> None:
    batches = windows(token_stream(tokenizer, TEXTS, 8192), 32, 2)
    statistics = collect_statistics(
        tiny_gpt2, batches, sites=["update", "output"], thresholds=Thresholds(1e-5, 0.1)
    )
    expected = SCORES[name].function(Evidence(6, statistics=statistics))
    found = score_layers(tiny_gpt2, tokenizer, TEXTS, name, window=32)
    torch.testing.assert_close(found.values, expected)


def test_few_small_activations_are_said(
    tiny_llama: PreTrainedModel, tokenizer: PreTrainedTokenizerFast
) -> None:
    assert score_layers(tiny_llama, tokenizer, TEXTS[:1], "avss_output").shot_noise == (0, 1, 2, 3, 4, 5)
    assert score_layers(tiny_llama, tokenizer, TEXTS[:1], "angular").shot_noise == ()


def test_traversal_predicts_the_second_half_of_each_window(
    tiny_llama: PreTrainedModel, tokenizer: PreTrainedTokenizerFast
) -> None:
    found = score_layers(tiny_llama, tokenizer, TEXTS, "traversal", window=32)
    ids = token_stream(tokenizer, TEXTS, REMOVAL_TOKENS)
    without = language_modelling(without_layers(tiny_llama, [2]), ids, "", window=16, context=16)
    assert float(found.values[2]) == pytest.approx(without.nll_per_token)


def test_greedy_ranks_as_many_layers_as_shall_go(
    tiny_llama: PreTrainedModel, tokenizer: PreTrainedTokenizerFast
) -> None:
    found = score_layers(tiny_llama, tokenizer, TEXTS, "greedy", window=32, ratio=0.5)
    assert sorted(found.values.tolist()) == [1, 2, 3, 4, 4, 4]


def test_a_window_is_no_longer_than_the_model_reads(
    tiny_gpt2: PreTrainedModel, tokenizer: PreTrainedTokenizerFast
) -> None:
    long = ["word " * 100]  # 500 tokens, and the model has 128 positions
    told: list[int] = []
    whole = score_layers(tiny_gpt2, tokenizer, long, batch_size=2, parts=1, progress=told.append)
    torch.testing.assert_close(whole.values, score_layers(tiny_gpt2, tokenizer, long, window=128).values)
    assert told == [1, 1]


@pytest.mark.parametrize("name", ["avss", "avss_output", "angular"])
def test_parts_and_batches_change_no_score(
    tiny_llama: PreTrainedModel, tokenizer: PreTrainedTokenizerFast, name: str
) -> None:
    whole = score_layers(tiny_llama, tokenizer, TEXTS, name, window=16, parts=1, batch_size=8)
    for parts, batch_size in ((3, 1), (40, 2)):
        found = score_layers(
            tiny_llama, tokenizer, TEXTS, name, window=16, parts=parts, batch_size=batch_size
        )
        torch.testing.assert_close(found.values, whole.values, rtol=1e-5, atol=0)


@pytest.mark.parametrize("name", ["avss", "traversal", "repairability"])
def test_other_text_may_choose_otherwise(
    tiny_llama: PreTrainedModel, tokenizer: PreTrainedTokenizerFast, name: str
) -> None:
    found = score_layers(tiny_llama, tokenizer, TEXTS, name, window=32, parts=4)
    assert len(found.parts) == {"avss": 4, "traversal": 7, "repairability": 8}[name]
    sure = found.stability(0.5, protect_first=1, resamples=20, seed=1)
    assert sum(sure.frequency) == pytest.approx(3)
    assert sure.frequency[0] == 0
    assert sure == found.stability(0.5, protect_first=1, resamples=20, seed=1)
    # Of one part every resample is the text itself, which says nothing.
    with pytest.raises(ValueError, match="too little text to say how sure the choice is: 1 window"):
        replace(found, parts=found.parts[:1]).stability(0.5, resamples=5)


@pytest.mark.parametrize("name", ["last_n", "random", "greedy"])
def test_scores_without_text_in_parts_say_so(
    tiny_llama: PreTrainedModel, tokenizer: PreTrainedTokenizerFast, name: str
) -> None:
    found = score_layers(tiny_llama, tokenizer, TEXTS[:1], name, window=32)
    with pytest.raises(ValueError, match=f"the score '{name}' has no text in parts"):
        found.stability(0.5)


def test_unknown_scores_and_empty_texts_are_refused(
    tiny_llama: PreTrainedModel, tokenizer: PreTrainedTokenizerFast
) -> None:
    with pytest.raises(LookupError, match="unknown score 'avs': did you mean avss"):
        score_layers(tiny_llama, tokenizer, TEXTS, "avs")
    with pytest.raises(TypeError, match=r"got the string 'One text\.': write \[text\]"):
        score_layers(tiny_llama, tokenizer, "One text.")
    with pytest.raises(ValueError, match="the text source holds no text"):
        score_layers(tiny_llama, tokenizer, [" "])


def test_shares_and_protected_layers() -> None:
    found = LayerScores("random", torch.tensor([1.0, 2.0, 3.0, 4.0], dtype=torch.float64))
    assert found.shares.tolist() == pytest.approx([0.1, 0.2, 0.3, 0.4])
    assert found.lowest(0.25) == [0]
    assert found.lowest(0.25, protect_first=1) == [1]
    assert found.lowest(0.5, protect_last=2) == [0, 1]


def test_the_defaults_are_those_of_the_pipeline() -> None:
    params = YAML(typ="safe").load(Path(__file__).parents[3] / "params.yaml")
    collect, score = params["collect"], params["score"]
    ours = {name: each.default for name, each in signature(score_layers).parameters.items()}
    assert ours["thresholds"] == THRESHOLDS
    assert (THRESHOLDS.absolute, THRESHOLDS.relative) == (
        float(collect["threshold"]),
        collect["relative_threshold"],
    )
    for name in ("tokens", "window", "batch_size", "parts", "skip_first"):
        assert ours[name] == collect[name], name
    assert ours["ratio"] == params["prune"]["ratio"]
    assert score["traversal_tokens"] == REMOVAL_TOKENS
    assert score["traversal_window"] == score["traversal_context"] == ours["window"] // 2
    assert ours["score"] in score["compare"]
