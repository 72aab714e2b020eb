"""Disjoint train, validation, calibration and test questions, split by a hash and not by their order."""

import hashlib
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from avss_core.judges.normalisation import question_form

Row = dict[str, Any]
"""One question with at least the fields `id` and `question`."""


@dataclass(frozen=True)
class Splits:
    """The rows of one set in four disjoint parts, and the numbers dropped to make them disjoint."""

    train: list[Row]
    validation: list[Row]
    calibration: list[Row]
    test: list[Row]
    duplicates: int
    """Rows dropped because a kept row of the same side (train or test) asks the same question."""
    shared_with_test: int
    """Train rows dropped because a test row, of this set or of another, asks the same question."""

    def parts(self) -> dict[str, list[Row]]:
        """Return the four parts by name."""
        return {
            "train": self.train,
            "validation": self.validation,
            "calibration": self.calibration,
            "test": self.test,
        }


def question_key(text: str) -> str:
    """Return the SHA-256 (hex) of a question's words, numbers and signs, blind to case and punctuation."""
    return hashlib.sha256(question_form(text).encode()).hexdigest()


def stable_fraction(text: str) -> float:
    """Return a number in [0, 1) that depends on the text alone and is spread evenly over texts."""
    # 13 hex digits are 52 bits: the quotient is exact in a float and can never round up to 1.
    return int(hashlib.sha256(text.encode()).hexdigest()[:13], 16) / 16**13


def drop_duplicates(rows: Sequence[Row]) -> tuple[list[Row], int]:
    """Return the rows with each question once, in the order of their ids, and how many rows were dropped.

    Among rows with one question the smallest id stays, so that the order of a file does not decide which
    answers count.
    """
    kept: dict[str, Row] = {}
    for row in sorted(rows, key=lambda row: str(row["id"])):
        kept.setdefault(question_key(row["question"]), row)
    return list(kept.values()), len(rows) - len(kept)


def split_rows(
    train_rows: Sequence[Row],
    test_rows: Sequence[Row],
    validation: float,
    calibration: float,
    seed: int,
    held_out: Collection[str] = (),
) -> Splits:
    """Return one set's rows in four parts that share no question.

    Test rows stay; train rows that ask a test question are dropped. The rest is ordered by
    sha256("seed:key"): first the validation part, then the calibration part, then the train part. Every part
    is in the order of a hash, so its first n rows are a fair sample of it; that of the test part does not
    depend on the seed.

    Args:
        train_rows: rows that may be trained on.
        test_rows: rows that figures are reported on.
        validation: share (0..1) of the train rows; above 0, at least one row if there are 3.
        calibration: as `validation`; the two together are below 1.
        seed: another seed gives other validation and calibration rows.
        held_out: keys of the test questions of other sets.

    Raises:
        ValueError: a share is outside 0..1, or the two leave nothing to train on.
    """
    _check_shares(validation, calibration)
    tested, repeated_tests = drop_duplicates(test_rows)
    trained, repeated = drop_duplicates(train_rows)
    test = {question_key(row["question"]): row for row in tested}
    train = {question_key(row["question"]): row for row in trained}
    kept = {key: row for key, row in train.items() if key not in test and key not in held_out}
    ordered = [kept[key] for key in sorted(kept, key=lambda key: _seeded(seed, key))]
    first, second = _sizes(len(ordered), validation, calibration)
    return Splits(
        train=ordered[first + second :],
        validation=ordered[:first],
        calibration=ordered[first : first + second],
        test=[test[key] for key in sorted(test)],
        duplicates=repeated + repeated_tests,
        shared_with_test=len(train) - len(kept),
    )


def split_sets(
    questions: Mapping[str, Mapping[str, Sequence[Row]]], validation: float, calibration: float, seed: int
) -> dict[str, Splits]:
    """Return the splits of every set, disjoint within each set and across all of them.

    A test question of any set is in no set's train, validation or calibration part; a train question of
    several sets stays in the first of them by name and counts as a duplicate in the others.

    Args:
        questions: rows by set and by side, "train" and "test".
        validation: as in `split_rows`, of each set.
        calibration: as in `split_rows`, of each set.
        seed: as in `split_rows`.
    """
    held_out = {question_key(row["question"]) for sides in questions.values() for row in sides["test"]}
    splits: dict[str, Splits] = {}
    seen: set[str] = set()
    for name in sorted(questions):
        keyed = [(question_key(row["question"]), row) for row in questions[name]["train"]]
        fresh = [row for key, row in keyed if key not in seen]
        own = split_rows(fresh, questions[name]["test"], validation, calibration, seed, held_out)
        splits[name] = replace(own, duplicates=own.duplicates + len(keyed) - len(fresh))
        # A test question is not a duplicate: each set that drops it counts it as shared with the test.
        seen |= {key for key, _ in keyed} - held_out
    check_disjoint(splits)
    return splits


def check_disjoint(splits: Mapping[str, Splits]) -> None:
    """Check that no question is in two different parts, within a set or across sets.

    Raises:
        ValueError: a question is in two parts; both places are named.
    """
    places: dict[str, tuple[str, str]] = {}
    for name, own in splits.items():
        for part, rows in own.parts().items():
            for row in rows:
                other, where = places.setdefault(question_key(row["question"]), (part, name))
                if other != part:
                    raise ValueError(
                        f"the question {row['question']!r} is in the {other} part of {where} and in the "
                        f"{part} part of {name}: no two parts may share one; make them with split_sets"
                    )


def refuse_test_questions(used: Iterable[str], tested: Iterable[str]) -> None:
    """Check that no question used for a choice or a training is a test question.

    Raises:
        ValueError: a used question is one; names it.
    """
    keys = {question_key(question) for question in tested}
    for question in used:
        if question_key(question) in keys:
            raise ValueError(
                f"the question {question!r} is a test question: nothing may be learnt or chosen by it; "
                "prepare the rows again"
            )


def _check_shares(validation: float, calibration: float) -> None:
    """Raise ValueError for shares outside 0 to 1 or that leave nothing to train on."""
    for name, share in (("validation", validation), ("calibration", calibration)):
        if not 0 <= share <= 1:
            raise ValueError(f"the {name} share is {share}: give a number from 0 to 1")
    if validation + calibration >= 1:
        raise ValueError(
            f"validation {validation} and calibration {calibration} leave no train rows: "
            "give shares that add up to less than 1"
        )


def _seeded(seed: int, key: str) -> str:
    """Return the sort key of a question for a seed."""
    return hashlib.sha256(f"{seed}:{key}".encode()).hexdigest()


def _sizes(count: int, validation: float, calibration: float) -> tuple[int, int]:
    """Return how many of `count` rows are validation and calibration, with at least one left to train."""
    if count < 3:
        return 0, 0
    first = min(max(round(validation * count), int(validation > 0)), count - 2)
    second = min(max(round(calibration * count), int(calibration > 0)), count - first - 1)
    return first, second
