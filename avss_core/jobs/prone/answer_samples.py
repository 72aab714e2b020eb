"""The answers in the activation dump: those of the data, the model's own, or both."""

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, cast

from avss_core.data.rows import Row, learning_files, learning_rows
from avss_core.hallucination.own_answers import COUNTS, OwnAnswer, choose_pair
from avss_core.hallucination.samples import AnswerSample, sample_pair
from avss_core.jobs.job_records import AnswerCounts, GeneratedCounts


def samples_of(
    prepared: Path,
    sets: Sequence[str],
    questions: int,
    *,
    supplied: bool,
    own: Mapping[str, Mapping[str, Any]],
) -> tuple[list[AnswerSample], dict[str, AnswerCounts]]:
    """Return the samples of all sets, and their counts by set and source.

    Args:
        prepared: the folder of the prepared rows.
        sets: whose questions count.
        questions: how many questions of a set have their supplied answers read.
        supplied: whether the answers that come with the questions are read.
        own: what `own_answers` returned, by set; empty if only supplied answers are read.

    Raises:
        ValueError: only the model's own answers are read, and fewer than two questions have both kinds.
    """
    samples: list[AnswerSample] = []
    total: Counter[str] = Counter()
    counted: dict[str, AnswerCounts] = {name: {} for name in sets}
    for name in sets:
        if supplied:
            supplied_samples = answer_samples(prepared, name, questions)
            counted[name]["supplied"] = {"questions": len(supplied_samples) // 2}
            samples += supplied_samples
        if name in own:
            generated, counts = own_samples(name, own[name]["questions"])
            kinds = {key: counts[key] for key in COUNTS}
            about = {key: own[name][key] for key in ("judge", "shots")}
            counted[name]["generated"] = cast(GeneratedCounts, kinds | about)
            samples += generated
            total += counts
    if not supplied:
        _check_kinds(total)
    return samples, counted


def answer_samples(prepared: Path, name: str, questions: int) -> list[AnswerSample]:
    """Return a truthful and a wrong answer to each of a set's first train and validation questions.

    Questions without a wrong answer are skipped.
    """
    rows = learning_rows(learning_files(prepared / name), questions, lambda row: bool(row["wrong_answers"]))
    return [
        sample
        for part, row in rows
        for sample in _pair(name, part, row, row["answers"][0], row["wrong_answers"][0], "supplied")
    ]


def own_samples(name: str, questions: Sequence[Row]) -> tuple[list[AnswerSample], Counter[str]]:
    """Return an accepted and a rejected own answer to each question that has both, and the counts by kind.

    Our reading: they are seen behind the bare question, as supplied answers are, and not behind the
    demonstrations that produced them, so that the two sources can be compared.
    """
    counts: Counter[str] = Counter()
    samples: list[AnswerSample] = []
    for row in questions:
        answers = [OwnAnswer(answer["text"], answer["correct"]) for answer in row["answers"]]
        if (pair := choose_pair(answers, counts)) is not None:
            samples += _pair(name, row["split"], row, pair.accepted, pair.rejected, "generated")
    return samples, counts


def _pair(
    name: str, part: str, row: Row, truthful: str, wrong: str, source: str
) -> tuple[AnswerSample, AnswerSample]:
    """Return the two samples of a question, with ids of their own for each source."""
    return sample_pair(
        row["question"],
        truthful,
        wrong,
        id=f"{name}:{row['id']}:{source}",
        set=name,
        split=part,
        source=source,
    )


def _check_kinds(total: Counter[str]) -> None:
    """Raise ValueError if too few questions have own answers of both kinds."""
    if total["both_kinds"] < 2:
        raise ValueError(
            f"{total['both_kinds']} of {total['questions']} questions have both a right and a wrong answer "
            f"of the model's own, and 2 are needed: {total['only_right']} were answered only right, "
            f"{total['only_wrong']} only wrong, {total['wordless']} without a word; ask more questions "
            "(collect.answers), draw more answers (collect.samples) at a higher collect.temperature, or set "
            "collect.answers_from to both"
        )
