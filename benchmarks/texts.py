"""The texts of the benchmarks: an encyclopedia, documentation, questions."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from transformers import PreTrainedModel, PreTrainedTokenizerBase

from avss_core.data.texts import language_topics
from avss_core.evaluation.perplexity import language_modelling
from avss_core.models.batches import token_stream
from avss_core.settings.places import SAMPLE
from avss_core.training.healing_text import text_windows

SETS = ("nq", "sciq", "triviaqa", "truthfulqa", "wikiqa")

Windows = Sequence[tuple[int, ...]]
"""Token ids of consecutive windows of a text."""


def texts(data: Path) -> dict[str, tuple[list[str], list[str]]]:
    """Return the calibration and the test part of three texts: encyclopedia, documentation, questions."""
    topics = language_topics(SAMPLE)
    wiki, asked = (
        [[(data / "wikitext2" / f"{part}.txt").read_text("utf-8")] for part in ("valid", "test")],
        [
            [
                f"Question: {row['question']}\nAnswer: {row['answers'][0]}\n"
                for rows in zip(*(_rows(data / name / f"{part}.jsonl") for name in SETS), strict=False)
                for row in rows
            ]
            for part in ("train", "test")
        ],
    )
    return {
        "WikiText-2": (wiki[0], wiki[1]),
        "Python topics": (topics["calibration"], topics["test"]),
        "questions": (asked[0], asked[1]),
    }


def _rows(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text("utf-8").splitlines()]


def windows_of(
    tokenizer: PreTrainedTokenizerBase, documents: Sequence[str], tokens: int, window: int = 512
) -> Windows:
    """Return windows of the first tokens of a text."""
    return text_windows(token_stream(tokenizer, documents, tokens), window)


def losses(model: PreTrainedModel, windows: Windows) -> tuple[list[float], list[int]]:
    """Return the summed loss of each window in nats, and its predicted tokens."""
    found = [language_modelling(model, list(ids), "", window=len(ids) - 1) for ids in windows if len(ids) > 1]
    return [each.nll for each in found], [each.tokens for each in found]
