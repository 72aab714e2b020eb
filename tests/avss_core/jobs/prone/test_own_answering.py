import json
from pathlib import Path

import pytest

from avss_core.data.rows import learning_files, learning_rows, read_prepared
from avss_core.evaluation.generation import Answer
from avss_core.evaluation.splits import question_key
from avss_core.jobs.prone import own_answering as module
from avss_core.jobs.prone.answer_dump import dump_activations
from avss_core.jobs.prone.answer_samples import samples_of
from avss_core.jobs.prone.layer_localization import localize_layers
from avss_core.jobs.prone.own_answering import own_answers

PARTS = {"train": 6, "validation": 3, "calibration": 3, "test": 4}
SETTINGS = {"dtype": "float32", "device": "cpu", "questions": 5, "shots": 2, "chat": False,
            "max_new_tokens": 3, "batch_size": 4, "samples": 3, "temperature": 1.0, "seed": 0,
            "judge_name": "contains"}  # fmt: skip


def row(name: str, part: str, number: int) -> dict:
    # One letter is in many random answers of bytes and not in others.
    golds = list("abcdefghijklmnopqrstuvwxyz")
    return {"id": f"{part}-{number}", "question": f"{name} {part} {number}?", "answers": golds,
            "wrong_answers": ["none"] if number % 2 == 0 else []}  # fmt: skip


@pytest.fixture
def prepared(tmp_path) -> Path:
    for name in ("nq", "sciq"):
        (tmp_path / name).mkdir()
        for part, count in PARTS.items():
            rows = [row(name, part, number) for number in range(count)]
            (tmp_path / name / f"{part}.jsonl").write_text("".join(json.dumps(r) + "\n" for r in rows))
    return tmp_path


@pytest.fixture
def ask(prepared, checkpoint):
    def run(name: str = "nq", **changes):
        folder = prepared / name
        files, shown = learning_files(folder), folder / "calibration.jsonl"
        return own_answers.fn(checkpoint, files, shown, **SETTINGS | changes)

    return run


@pytest.fixture
def prompts(monkeypatch) -> list[str]:
    """What the engine was asked, as it is asked."""
    seen: list[str] = []
    real = module.answer_questions

    def spy(network, tokenizer, asked, **settings):
        seen.extend(asked)
        return real(network, tokenizer, asked, **settings)

    monkeypatch.setattr(module, "answer_questions", spy)
    return seen


def own(name: str, *questions: list[tuple[str, bool]]) -> dict:
    """Return what `own_answers` could have found; question 0 is a train question, the others alternate."""
    return {"judge": "exact", "shots": 2, "dropped_demonstrations": 0,
            "questions": [{"id": f"q{i}", "split": "validation" if i % 2 else "train",
                           "question": f"{name} own {i}?",
                           "answers": [{"text": text, "correct": right} for text, right in answers]}
                          for i, answers in enumerate(questions)]}  # fmt: skip


BOTH_KINDS = [("Ada", True), ("Bob", False)]


def test_no_test_question_is_ever_asked_or_shown(ask, prompts, prepared):
    ask()
    keys = {
        part: {question_key(row["question"]) for row in read_prepared(prepared / "nq" / f"{part}.jsonl")}
        for part in PARTS
    }
    asked, shown = set(), set()
    for prompt in prompts:
        *before, last = (line for line in prompt.split("\n") if line.startswith("Question: "))
        asked.add(question_key(last.removeprefix("Question: ")))
        shown |= {question_key(line.removeprefix("Question: ")) for line in before}
    assert len(asked) == 5
    assert asked <= keys["train"] | keys["validation"]
    assert asked & keys["validation"]
    assert shown <= keys["calibration"]
    assert len(shown) == 2
    assert not (asked | shown) & keys["test"]


def test_a_demonstration_never_asks_the_question_itself(ask, prompts, prepared):
    path = prepared / "nq" / "calibration.jsonl"
    rows = [row("nq", "train", 0), *read_prepared(path)]  # as damaged splits would have it
    path.write_text("".join(json.dumps(each) + "\n" for each in rows))
    ask(questions=1)  # a train and a validation question
    assert len(prompts) == 2 * (1 + 3)
    assert all(prompt.count("nq train 0?") == 1 for prompt in prompts)
    assert sum("nq train 0?\nAnswer: a" in prompt for prompt in prompts) == 4


def test_the_greedy_answer_comes_first_and_the_draws_follow(ask, checkpoint, prompts):
    found = ask()
    assert [len(question["answers"]) for question in found["questions"]] == [4] * 5
    assert {question["split"] for question in found["questions"]} == {"train", "validation"}
    cold = ask(temperature=1e-9)
    for warm, question in zip(found["questions"], cold["questions"], strict=True):
        assert {answer["text"] for answer in question["answers"]} == {warm["answers"][0]["text"]}
    texts = {answer["text"] for question in found["questions"] for answer in question["answers"]}
    assert len(texts) > 10


def test_answers_are_the_same_for_any_batch_size_and_other_ones_for_another_seed(ask):
    assert ask(batch_size=1) == ask(batch_size=7) == ask()
    assert ask(seed=1) != ask()


def test_a_draw_does_not_depend_on_how_many_there_are_nor_on_the_other_questions(ask):
    few, many = ask(samples=1, questions=2), ask(samples=5)
    known = {question["id"]: question["answers"] for question in many["questions"]}
    for question in few["questions"]:
        assert known[question["id"]][:2] == question["answers"]


@pytest.mark.parametrize(
    ("name", "verdicts"),
    [("exact", [False, True, False, False]), ("contains", [True, True, False, False])],
)
def test_each_answer_has_the_verdict_of_the_judge_on_its_own_question(ask, monkeypatch, name, verdicts):
    said = {"greedy": ["b or c", "c"], "drawn": ["The B.", "bee", "", "Three C.", "a cc", "A"]}

    def canned(_network, _tokenizer, prompts, *, sampling=None, **_settings):
        texts = said["greedy" if sampling is None else "drawn"]
        assert len(prompts) == len(texts)
        return [Answer(text, 0.5) for text in texts]

    monkeypatch.setattr(module, "answer_questions", canned)
    found = ask(questions=1, judge_name=name)
    first, second = ([(a["text"], a["correct"]) for a in q["answers"]] for q in found["questions"])
    assert first == list(zip(["b or c", "The B.", "bee", ""], verdicts, strict=True))
    assert [text for text, _ in second] == ["c", "Three C.", "a cc", "A"]
    assert found["judge"] == name


def test_both_sources_are_pooled_with_ids_and_sources_of_their_own(prepared):
    found = {"nq": own("nq", BOTH_KINDS, [("Ada", True)]), "sciq": own("sciq", [("", False)], BOTH_KINDS)}
    samples, counted = samples_of(prepared, ["nq", "sciq"], 5, supplied=True, own=found)
    assert len({sample.id for sample in samples}) == len(samples) == 2 * (2 * 4 + 2)
    generated = [sample for sample in samples if sample.source == "generated"]
    assert [(s.set, s.split, s.answer, s.hallucinated) for s in generated] == [
        ("nq", "train", "Ada", False), ("nq", "train", "Bob", True),
        ("sciq", "validation", "Ada", False), ("sciq", "validation", "Bob", True),
    ]  # fmt: skip
    assert counted["nq"]["supplied"] == {"questions": 4}
    assert counted["nq"]["generated"] == {
        "questions": 2, "both_kinds": 1, "only_right": 1, "only_wrong": 0, "wordless": 0, "answers": 3,
        "right": 2, "wrong": 1, "empty": 0, "duplicate": 0, "judge": "exact", "shots": 2,
    }  # fmt: skip
    assert counted["sciq"]["generated"]["wordless"] == 1


def test_too_few_own_answers_of_both_kinds_are_refused_with_what_to_change(prepared):
    found = {
        "nq": own("nq", BOTH_KINDS, [("Bob", False)], [("Eve", False)]),
        "sciq": own("sciq", [("a", True)]),
    }
    message = (
        r"1 of 4 questions have both a right and a wrong answer of the model's own, and 2 are needed: 1 were "
        r"answered only right, 2 only wrong, 0 without a word; ask more questions \(collect.answers\), draw "
        r"more answers \(collect.samples\) at a higher collect.temperature, or set collect.answers_from "
        r"to both"
    )
    with pytest.raises(ValueError, match=message):
        samples_of(prepared, ["nq", "sciq"], 5, supplied=False, own=found)
    samples, _ = samples_of(prepared, ["nq", "sciq"], 5, supplied=True, own=found)
    assert {sample.source for sample in samples} == {"supplied", "generated"}


def dumped(checkpoint, prepared, folder, *, supplied: bool = True, own=None):
    dump_activations(
        checkpoint, prepared, ["nq", "sciq"], dtype="float32", device="cpu", site="update", relative=0.1,
        questions=5, supplied=supplied, own=own or {}, folder=folder,
    )  # fmt: skip
    return localize_layers(folder, "update", reading="eavss_contrast", resamples=20, seed=0)


def test_supplied_answers_alone_have_no_sources_to_compare(checkpoint, prepared, tmp_path):
    found = dumped(checkpoint, prepared, tmp_path / "dump")
    assert (found["questions"], found["pairs"], found["probe_questions"]) == (8, 8, 2)
    assert found["sources"] == found["source_agreement"] == {}
    assert set(found["sets"]) == {"nq", "sciq"}
    assert not (tmp_path / "dump" / "own_answers.jsonl").exists()


def test_readings_are_there_pooled_by_set_and_by_source(checkpoint, prepared, tmp_path):
    answers = {"nq": own("nq", BOTH_KINDS, BOTH_KINDS), "sciq": own("sciq", [("x", True), ("yy", False)])}
    # The model's own answer to a question that has supplied answers too.
    answers["sciq"]["questions"][0]["question"] = "sciq train 0?"
    found = dumped(checkpoint, prepared, tmp_path / "dump", own=answers)
    assert (found["questions"], found["pairs"]) == (10, 11)
    for readings in (found["readings"], *found["sets"].values(), *found["sources"].values()):
        assert set(readings) == {"eavss", "eavss_contrast", "eavss_paired"}
        for each in readings.values():
            assert len(each["values"]) == 6
            assert all(low <= high for low, high in zip(each["low"], each["high"], strict=True))
    assert set(found["sources"]) == {"supplied", "generated"}
    assert all(-1 <= tau <= 1 for tau in found["source_agreement"].values())
    alone = dumped(checkpoint, prepared, tmp_path / "alone")
    # Other answers in a batch round otherwise on some processors.
    for name, band in alone["readings"].items():
        for end, values in band.items():
            assert found["sources"]["supplied"][name][end] == pytest.approx(values, rel=1e-3, abs=1e-6), name
    rows = read_prepared(tmp_path / "dump" / "own_answers.jsonl")
    assert [row["set"] for row in rows] == ["nq", "nq", "sciq"]


def test_own_answers_without_a_validation_question_leave_the_probe_without_a_value(
    checkpoint, prepared, tmp_path
):
    answers = {"nq": own("nq", BOTH_KINDS), "sciq": own("sciq", BOTH_KINDS)}
    found = dumped(checkpoint, prepared, tmp_path / "dump", supplied=False, own=answers)
    assert found["probe_auroc"] == [None] * 6
    assert found["probe_questions"] == 0
    assert found["agreement"]["eavss"]["probe_auroc"] is None
    assert found["sets"] == {}  # one question of each tells nothing of a set


def test_four_fifths_are_train_questions_that_fulfil_the_condition(prepared):
    files = learning_files(prepared / "nq")
    found = list(learning_rows(files, 5, lambda each: bool(each["wrong_answers"])))
    assert [(part, each["id"]) for part, each in found] == [
        ("train", "train-0"), ("train", "train-2"), ("train", "train-4"), ("validation", "validation-0"),
    ]  # fmt: skip
    assert len(list(learning_rows(files, 100))) == 9
