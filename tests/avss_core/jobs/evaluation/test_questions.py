import json

import pytest

from avss_core.jobs.evaluation import questions, summaries
from avss_core.jobs.evaluation.questions import answer_set

CHAT = (
    "{% for m in messages %}<{{ m.role }}>{{ m.content }}<|endoftext|>{% endfor %}"
    "{% if add_generation_prompt %}<assistant>{% endif %}"
)
SHOWN = [
    {"id": "c-0", "question": "What is red?", "answers": ["A rose"], "wrong_answers": []},
    {"id": "c-1", "question": "What is blue?", "answers": ["Sky"], "wrong_answers": []},
    {"id": "c-2", "question": "What is high?", "answers": ["A hill"], "wrong_answers": []},
]
ROWS = [
    {"id": "t-0", "question": "who?", "answers": ["Ada", "Ada L."], "wrong_answers": ["Bob", "", "Eve"]},
    {"id": "t-1", "question": "WHAT is a red", "answers": ["Tea"], "wrong_answers": []},
]


@pytest.fixture
def ask(checkpoint, tmp_path, monkeypatch):
    """Ask the tiny model and return the result with the prompts and given texts that the engine saw."""
    seen = {}
    real = questions.answer_questions

    def spy(model, tokenizer, prompts, **settings):
        seen.update(prompts=prompts, given=settings["given"])
        return real(model, tokenizer, prompts, **settings)

    monkeypatch.setattr(questions, "answer_questions", spy)

    def run(rows=ROWS, **changes):
        folder = tmp_path / "nq"
        folder.mkdir(exist_ok=True)
        for name, part in (("test", rows), ("calibration", SHOWN[:1]), ("train", SHOWN[1:])):
            (folder / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in part))
        settings = {"dtype": "float32", "device": "cpu", "shots": 2, "first": 0, "last": 100,
                    "max_new_tokens": 3,
                    "batch_size": 4, "judge_name": "exact", "chat": False,
                    "scored_answers": 4, **changes}  # fmt: skip
        shown = [folder / "calibration.jsonl", folder / "train.jsonl"]
        return answer_set.fn(checkpoint, folder / "test.jsonl", shown, **settings), seen

    return run


def test_a_demonstration_never_asks_the_test_question(ask):
    _, seen = ask()
    first, second = seen["prompts"]
    assert "What is red?" in first
    assert "What is high?" not in first
    assert "What is red?" not in second
    assert "What is high?" in second


def test_demonstrations_without_room_are_dropped_and_counted(ask):
    result, seen = ask([{**ROWS[0], "question": "who " * 12 + "?"}, ROWS[0]])
    assert [row["dropped_demonstrations"] for row in result["answers"]] == [1, 0]
    assert result["dropped_demonstrations"] == 1
    assert "who who ?" in seen["prompts"][0]
    assert "red" in seen["prompts"][0]


def test_a_question_past_the_context_is_named(ask):
    with pytest.raises(ValueError, match="question 't-0' alone has"):
        ask([{**ROWS[0], "question": "who " * 40}])


def test_given_answers_are_scored_up_to_a_number_each(ask):
    result, seen = ask()
    assert seen["given"] == [[" Ada", " Ada L.", " Bob", " Eve"], [" Tea"]]
    first, second = result["answers"]
    assert first["gold_nll"] > 0
    assert first["preference"] == (first["preference_margin"] > 0)
    assert second["gold_nll"] > 0
    assert second["preference"] is second["preference_margin"] is None
    many = [{**ROWS[0], "answers": list("abcdefg"), "wrong_answers": list("uvwxyz")}]
    _, seen = ask(many, scored_answers=2)
    assert seen["given"] == [[" a", " b", " u", " v"]]
    alone, seen = ask(scored_answers=0)
    assert seen["given"] == [[], []]
    for row, other in zip(alone["answers"], result["answers"], strict=True):
        assert row["gold_nll"] is row["preference"] is None
        assert row["answer"] == other["answer"]
        assert row["confidence"] == pytest.approx(other["confidence"])


def test_the_figures_of_given_answers_have_a_number_and_an_interval(ask):
    result, _ = ask()
    figures = summaries._set_figures(result, seed=0)
    assert figures["gold_nll"]["n"] == 2
    assert figures["preference_accuracy"]["n"] == 1
    result, _ = ask(ROWS[1:])
    figures = summaries._set_figures(result, seed=0)
    assert figures["preference_accuracy"] == {"n": 0, "value": None, "low": None, "high": None}


def test_a_chat_asks_with_turns_and_scores_answers_without_a_space(ask, checkpoint, tokenizer):
    chatty = type(tokenizer).from_pretrained(checkpoint, chat_template=CHAT)
    chatty.save_pretrained(checkpoint)
    _, seen = ask(ROWS[:1], chat=True, shots=1)
    assert seen["prompts"] == [
        "<user>What is red?<|endoftext|><assistant>A rose<|endoftext|><user>who?<|endoftext|><assistant>"
    ]
    assert seen["given"][0][0] == "Ada"


def test_a_chat_with_a_model_without_a_template_is_refused(ask):
    with pytest.raises(ValueError, match=r"tokenizer of .*checkpoint has no chat template"):
        ask(chat=True)
