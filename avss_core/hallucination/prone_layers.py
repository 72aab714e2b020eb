"""Find the layers of a loaded model that behave differently on wrong answers."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from transformers import PreTrainedModel, PreTrainedTokenizerBase

from avss_core.hallucination.localization import Localization, find_reading, localize
from avss_core.hallucination.samples import observe_answers, sample_pair
from avss_core.progress import Progress, no_progress


@dataclass(frozen=True)
class ProneLayers(Localization):
    """An EAVSS reading of each layer with its interval over questions; the highest are the most prone."""

    reading: str
    questions: int
    """Number of questions with both kinds of answer."""


def find_prone_layers(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    rows: Sequence[Mapping[str, Any]],
    reading: str = "eavss_contrast",
    *,
    site: str = "update",
    relative: float = 0.1,
    resamples: int = 200,
    seed: int = 0,
    batch_size: int = 16,
    progress: Progress = no_progress,
) -> ProneLayers:
    """Return how prone to hallucination each layer is by a reading of EAVSS on one set of questions.

    The model reads each row's question with its first accepted and its first wrong answer; rows without
    either are skipped. Take no question here on which the model will be evaluated.

    Args:
        model: a causal language model; stays as it is.
        tokenizer: its tokenizer.
        rows: each with `question`, `answers` (accepted) and `wrong_answers`.
        reading: a key of `avss_core.hallucination.localization.READINGS`.
        site: one of `avss_core.models.activations.SITES`.
        relative: magnitude below which a value is small, as a share of the RMS of the block input.
        resamples: number of resamples of the questions for the interval.
        seed: seed of the resampling.
        batch_size: answers a batch; it changes the result only by rounding.
        progress: called with the number of answers of each finished batch, two a question.

    Raises:
        LookupError: the reading or the model's family is unknown.
        TypeError: answers are one string, not a list of them.
        ValueError: fewer than two questions have both kinds of answer, an answer is empty, or an activation
            is not a finite number.
    """
    find_reading(reading)
    asked = [row for row in rows if _answers(row, "answers") and _answers(row, "wrong_answers")]
    if len(asked) < 2:
        raise ValueError(
            f"{len(asked)} of {len(rows)} rows have both an accepted and a wrong answer; give at least 2"
        )
    pairs = [
        sample_pair(row["question"], row["answers"][0], row["wrong_answers"][0], id=str(i), set="", split="")
        for i, row in enumerate(asked)
    ]
    truthful, wrong = (list(side) for side in zip(*pairs, strict=True))
    seen = observe_answers(
        model,
        tokenizer,
        [*wrong, *truthful],
        site=site,
        relative=relative,
        batch_size=batch_size,
        progress=progress,
    )
    sides = seen.select(seen.hallucinated.nonzero()[:, 0]), seen.select((~seen.hallucinated).nonzero()[:, 0])
    questions = [row["question"] for row in asked]
    each = localize(*sides, reading, questions=questions, seed=seed, resamples=resamples)
    return ProneLayers(each.values, each.draws, reading, len(set(questions)))


def _answers(row: Mapping[str, Any], field: str) -> Sequence[str]:
    """Return the answers of a row; a string is refused, since its first character would be taken."""
    answers: Sequence[str] = row.get(field) or ()
    if isinstance(answers, str):
        raise TypeError(f"{field} must be a list of strings, got the string {answers!r}: write [{answers!r}]")
    return answers
