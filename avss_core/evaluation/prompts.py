"""Prompts as plain few-shot text or as a chat."""

from collections.abc import Sequence

from transformers import PreTrainedTokenizerBase

Demonstration = tuple[str, str]
"""A question and its answer."""


def question_prompt(question: str) -> str:
    """Return the prompt of one question; the answer follows after a space."""
    return f"Question: {question}\nAnswer:"


def few_shot_prompt(demonstrations: Sequence[Demonstration], question: str) -> str:
    """Return demonstrations of (question, answer) followed by one question.

    Example:
        >>> print(few_shot_prompt([("What is one and one?", "two")], "What is two and two?"))
        Question: What is one and one?
        Answer: two
        <BLANKLINE>
        Question: What is two and two?
        Answer:
    """
    shots = [f"{question_prompt(asked)} {answer}\n\n" for asked, answer in demonstrations]
    return "".join(shots) + question_prompt(question)


def chat_prompt(
    tokenizer: PreTrainedTokenizerBase, demonstrations: Sequence[Demonstration], question: str
) -> str:
    """Return a chat in which demonstrations are turns and the assistant is about to answer one question.

    Raises:
        ValueError: the tokenizer has no chat template; the model is named.
    """
    if tokenizer.chat_template is None:
        raise ValueError(
            f"the tokenizer of {tokenizer.name_or_path or 'the model'} has no chat template; "
            "set evaluate.chat to false or take a chat model"
        )
    turns = []
    for asked, answer in demonstrations:
        turns += [{"role": "user", "content": asked}, {"role": "assistant", "content": answer}]
    turns.append({"role": "user", "content": question})
    return str(tokenizer.apply_chat_template(turns, tokenize=False, add_generation_prompt=True))
