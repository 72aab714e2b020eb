"""Find the layers of a loaded model that behave differently on wrong answers, from questions with both."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from transformers import PreTrainedModel, PreTrainedTokenizerBase

from avss_core.hallucination.localization import Localisation, find_reading, localise
from avss_core.hallucination.samples import observe_answers, sample_pair
from avss_core.progress import Progress, no_progress


@dataclass(frozen=True)
class ProneLayers(Localisation):
    """A reading of EAVSS at every layer with its interval over questions; the highest are the most prone."""

    reading: str
    questions: int
    """How many questions had both kinds of answer."""

    @property
    def order(self) -> list[int]:
        """Return the layers from the most prone one; equal values stay in depth order."""
        values = self.values.tolist()
        return sorted(range(len(values)), key=lambda layer: -values[layer])


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
    """Return how prone to hallucination a reading of EAVSS finds every layer, from one set of questions.

    Of each row its first accepted and its first wrong answer are read behind the question; rows without a
    wrong answer are passed over. Take no question here on which the model will be evaluated.

    Args:
        model: a causal language model; stays as it is.
        tokenizer: its tokenizer.
        rows: each with `question`, `answers` (accepted) and `wrong_answers`.
        reading: a key of `avss_core.hallucination.localization.READINGS`.
        site: one of `avss_core.models.activations.SITES`.
        relative: what counts as small, as a share of the RMS of the block input.
        resamples: of the questions, for the interval.
        seed: of the resampling.
        batch_size: answers a batch; the result depends on it only to rounding.
        progress: told of each finished batch's answers, two a question.

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
    found = localise(*sides, reading, questions=questions, seed=seed, resamples=resamples)
    return ProneLayers(found.values, found.draws, reading, len(set(questions)))


def _answers(row: Mapping[str, Any], field: str) -> Sequence[str]:
    """Return the answers of a row, refusing one string, of which the first character would be taken."""
    answers: Sequence[str] = row.get(field) or ()
    if isinstance(answers, str):
        raise TypeError(f"{field} must be a list of strings, got the string {answers!r}: write [{answers!r}]")
    return answers
