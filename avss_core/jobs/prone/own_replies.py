"""Ask a model the questions that it is trained on, as the evaluation asks them; a cached unit."""

from pathlib import Path
from typing import Any

from avss_core.caching.loaded_model import model_at
from avss_core.caching.unit import unit
from avss_core.data.rows import Row, read_prepared
from avss_core.display.steps import progress, working
from avss_core.evaluation.generation import answer_questions
from avss_core.jobs.evaluation.asking import judge_of, prompts_of, shown, verdicts_on
from avss_core.models.room import BatchSize


def trained_rows(path: Path, limit: int) -> tuple[list[Row], int]:
    """Return the first questions of a file that have a wrong answer, and the number of those without."""
    rows: list[Row] = []
    without = 0
    for row in read_prepared(path):
        if len(rows) == limit:
            break
        if row["wrong_answers"]:
            rows.append(row)
        else:
            without += 1
    return rows, without


@unit("own-replies")
def own_replies(
    model: Path,
    questions: Path,
    demonstrations: Path,
    *,
    dtype: str,
    device: str,
    questions_at_most: int,
    shots: int,
    chat: bool,
    max_new_tokens: int,
    batch_size: BatchSize,
    judge_name: str,
) -> list[dict[str, Any]]:
    """Return the prompt and the greedy answer of each of a file's `trained_rows`, with the judge's verdict.

    Args:
        model: a checkpoint folder.
        questions: the file of the rows to ask.
        demonstrations: the file of the rows that stand before a question, none of which asks it.
        dtype: of the model.
        device: of the model.
        questions_at_most: how many to ask.
        shots: demonstrations before each question, fewer if there are or fit fewer.
        chat: ask through the tokenizer's chat template.
        max_new_tokens: longest answer.
        batch_size: prompts at a time; the answers depend on it only to rounding.
        judge_name: a judge, or `default` for the set's.
    """
    network, tokenizer = model_at(model, dtype, device)
    rows, _ = trained_rows(questions, questions_at_most)
    prompts = prompts_of(
        network, tokenizer, rows, shown([demonstrations]), shots=shots, new=max_new_tokens, chat=chat
    )
    texts = [prompt.text for prompt in prompts]
    name = f"{questions.parent.name}, {questions.stem}"
    with progress(f"own answers on {name}", len(rows), "answers") as advance:
        answers = answer_questions(
            network, tokenizer, texts, max_new_tokens=max_new_tokens, batch_size=batch_size, progress=advance
        )
    with working(f"judging own answers on {name}"):
        verdicts = verdicts_on(judge_of(questions, judge_name), rows, [answer.text for answer in answers])
    space = "" if chat else " "
    return [
        {"prompt": prompt, "text": answer.text and space + answer.text, "correct": correct}
        for prompt, answer, correct in zip(texts, answers, verdicts, strict=True)
    ]
