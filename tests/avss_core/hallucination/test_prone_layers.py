from inspect import signature
from pathlib import Path
from typing import Any

import pytest
import torch
from ruamel.yaml import YAML
from transformers import PreTrainedModel, PreTrainedTokenizerFast

from avss_core.hallucination.localization import READINGS, localize
from avss_core.hallucination.prone_layers import find_prone_layers
from avss_core.hallucination.samples import AnswerSample, observe_answers

ROWS: list[dict[str, Any]] = [
    {"question": "What is two and two?", "answers": ["four", "4"], "wrong_answers": ["five"]},
    {"question": "What is up?", "answers": ["the sky"], "wrong_answers": []},
    {"question": "Who sat on the mat?", "answers": ["the cat"], "wrong_answers": ["the king", "a dog"]},
    {"question": "What is red?", "answers": ["blood"], "wrong_answers": ["snow"]},
]


def observed(model: PreTrainedModel, tokenizer: PreTrainedTokenizerFast, field: str, wrong: bool) -> Any:
    samples = [
        AnswerSample(str(i), "", "", row["question"], row[field][0], wrong)
        for i, row in enumerate(ROWS)
        if row["wrong_answers"]
    ]
    return observe_answers(model, tokenizer, samples, site="update", relative=0.1)


@pytest.mark.parametrize("reading", READINGS)
def test_it_is_the_reading_of_the_answers(
    tiny_model: PreTrainedModel, tokenizer: PreTrainedTokenizerFast, reading: str
) -> None:
    told: list[int] = []
    found = find_prone_layers(
        tiny_model, tokenizer, ROWS, reading, seed=3, resamples=20, batch_size=4, progress=told.append
    )
    expected = localize(
        observed(tiny_model, tokenizer, "wrong_answers", True),
        observed(tiny_model, tokenizer, "answers", False),
        reading,
        questions=[row["question"] for row in ROWS if row["wrong_answers"]],
        seed=3,
        resamples=20,
    )
    torch.testing.assert_close(found.values, expected.values)
    torch.testing.assert_close(found.low, expected.low)
    assert (found.reading, found.questions, sum(told)) == (reading, 3, 6)
    assert sorted(found.order) == list(range(6))
    ranked = found.values[found.order]
    assert (ranked[:-1] >= ranked[1:]).all()


def test_rows_that_cannot_be_used_are_said(
    tiny_llama: PreTrainedModel, tokenizer: PreTrainedTokenizerFast
) -> None:
    with pytest.raises(ValueError, match="1 of 2 rows have both an accepted and a wrong answer"):
        find_prone_layers(tiny_llama, tokenizer, ROWS[:2])
    with pytest.raises(TypeError, match=r"answers must be a list of strings, got the string 'four'"):
        find_prone_layers(tiny_llama, tokenizer, [ROWS[0] | {"answers": "four"}])
    with pytest.raises(LookupError, match="unknown EAVSS reading 'eavs'"):
        find_prone_layers(tiny_llama, tokenizer, ROWS, "eavs")


def test_the_defaults_are_those_of_the_pipeline() -> None:
    params = YAML(typ="safe").load(Path(__file__).parents[3] / "params.yaml")
    ours = {name: each.default for name, each in signature(find_prone_layers).parameters.items()}
    assert ours["reading"] == params["localize"]["reading"]
    assert ours["resamples"] == params["localize"]["resamples"]
    assert (ours["site"], ours["relative"]) == (
        params["collect"]["dump_site"],
        params["collect"]["relative_threshold"],
    )
