import pytest

from tasks.answers.answer_rows import read_answers, write_answers

DIGEST = "0123456789abcdef" * 4


def answer(name, **known):
    return {"id": name, "prompt": DIGEST, "answer": "Paris", "confidence": 0.5, "correct": True,
            "verdicts": {"exact": True, "f1": False}, "gold_nll": 1.5, "preference_margin": None,
            "preference": None, "dropped_demonstrations": 0} | known  # fmt: skip


def record(**known):
    review = {"id": "r", "prompt": DIGEST, "predicted": 1, "label": 0, "correct": False, "confidence": 0.75}
    return {"sets": {"nq": {"judge": "f1", "answers": [answer("a", **known), answer("b", answer="")]}},
            "sentiment": {"answers": [review]}}  # fmt: skip


def test_answers_come_back_by_variant(tmp_path):
    path = tmp_path / "answers.parquet"
    write_answers(path, {"dense": record(), "pruned": record(answer="Rome", correct=False)})
    dense, pruned = (read_answers(path, name) for name in ("dense", "pruned"))
    assert dense["sets"]["nq"]["answers"][0] == {
        "id": "a", "answer": "Paris", "confidence": 0.5, "correct": True, "gold_nll": 1.5, "preference": None
    }  # fmt: skip
    assert [row["answer"] for row in pruned["sets"]["nq"]["answers"]] == ["Rome", ""]
    assert dense["sentiment"]["answers"][0] | {"answer": None} == {
        "id": "r", "answer": None, "confidence": 0.75, "correct": False, "predicted": 1, "label": 0
    }  # fmt: skip


@pytest.mark.parametrize(("margin", "preference"), [(0.5, True), (-0.5, False), (0.0, False), (None, None)])
def test_a_preference_comes_back_by_its_margin(tmp_path, margin, preference):
    path = tmp_path / "answers.parquet"
    write_answers(path, {"dense": record(preference_margin=margin, gold_nll=margin and 2.0)})
    first, second = read_answers(path, "dense")["sets"]["nq"]["answers"]
    assert first["preference"] is preference
    assert first["gold_nll"] == (margin and 2.0)
    assert second["gold_nll"] == 1.5


def test_equal_answers_give_equal_bytes(tmp_path):
    for name in ("one", "two"):
        write_answers(tmp_path / name, {"dense": record()})
    assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes()


@pytest.mark.parametrize(
    ("bad", "column"),
    [
        ({"confidence": 1.5}, "confidence"),
        ({"confidence": float("nan")}, "confidence"),
        ({"prompt": "what?"}, "prompt"),
        ({"gold_nll": -1.0}, "gold_nll"),
        ({"id": "b"}, "id"),
    ],
)
def test_a_bad_answer_is_refused_and_nothing_is_written(bad, column, tmp_path):
    path = tmp_path / "answers.parquet"
    with pytest.raises(ValueError, match=rf"(?s)answers.parquet: bad answers.*{column}"):
        write_answers(path, {"dense": record(**bad)})
    assert not path.exists()


def test_an_unknown_variant_is_named_with_the_known_ones(tmp_path):
    path = tmp_path / "answers.parquet"
    write_answers(path, {"dense": record()})
    with pytest.raises(LookupError, match=r"no answers of 'healed'; it has \['dense'\]"):
        read_answers(path, "healed")
