"""Ask a model a set's train and validation questions, greedily and by sampling; a cached unit."""

from pathlib import Path
from typing import Any

from avss_core.caching.loaded_model import model_at
from avss_core.caching.unit import unit
from avss_core.data.rows import learning_rows
from avss_core.display.steps import progress, working
from avss_core.evaluation.generation import answer_questions
from avss_core.evaluation.sampling import Sampling, draw_seed
from avss_core.jobs.evaluation.asking import judge_of, prompts_of, shown, verdicts_on
from avss_core.models.room import BatchSize


@unit("own-answers")
def own_answers(
    model: Path,
    parts: dict[str, Path],
    demonstrations: Path,
    *,
    dtype: str,
    device: str,
    questions: int,
    shots: int,
    chat: bool,
    max_new_tokens: int,
    batch_size: BatchSize,
    samples: int,
    temperature: float,
    seed: int,
    judge_name: str,
) -> dict[str, Any]:
    """Return the greedy answer and `samples` drawn ones to each question, with the judge's verdicts.

    Args:
        model: a checkpoint folder.
        parts: the files of the set's rows to ask, as `learning_files` gives them.
        demonstrations: the file of the rows that stand before a question, none of which asks it.
        dtype: of the model.
        device: of the model.
        questions: how many to ask, as `learning_rows` divides them.
        shots: demonstrations before each question, fewer if there are or fit fewer.
        chat: ask through the tokenizer's chat template.
        max_new_tokens: longest answer.
        batch_size: prompts at a time; the answers depend on it only to rounding.
        samples: drawn answers beside the greedy one.
        temperature: of the drawn answers.
        seed: of the drawn answers; each draw for each question has its own generator.
        judge_name: a judge, or `default` for the set's.
    """
    network, tokenizer = model_at(model, dtype, device)
    asked = list(learning_rows(parts, questions))
    rows = [row for _, row in asked]
    examples = shown([demonstrations])
    prompts = prompts_of(network, tokenizer, rows, examples, shots=shots, new=max_new_tokens, chat=chat)
    texts = [prompt.text for prompt in prompts]
    seeds = [draw_seed(seed, row["question"], draw) for row in rows for draw in range(samples)]
    settings: dict[str, Any] = {"max_new_tokens": max_new_tokens, "batch_size": batch_size}
    name = demonstrations.parent.name
    with progress(f"own answers on {name}", len(rows) * (1 + samples), "answers") as advance:
        greedy = answer_questions(network, tokenizer, texts, progress=advance, **settings)
        drawn = answer_questions(
            network,
            tokenizer,
            [text for text in texts for _ in range(samples)],
            sampling=Sampling(temperature, seeds),
            progress=advance,
            **settings,
        )
    answers = [
        [greedy[at].text, *(answer.text for answer in drawn[at * samples : (at + 1) * samples])]
        for at in range(len(rows))
    ]
    judged_by = judge_of(demonstrations, judge_name)
    repeated = [row for row in rows for _ in range(1 + samples)]
    with working(f"judging own answers on {name}"):
        verdicts = iter(verdicts_on(judged_by, repeated, [text for own in answers for text in own]))
    return {
        "judge": judged_by.name,
        "shots": min(shots, len(examples)),
        "dropped_demonstrations": sum(prompt.dropped for prompt in prompts),
        "questions": [
            {
                "id": row["id"],
                "split": part,
                "question": row["question"],
                "answers": [{"text": text, "correct": next(verdicts)} for text in own],
            }
            for (part, row), own in zip(asked, answers, strict=True)
        ],
    }
