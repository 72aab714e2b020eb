"""The demonstrations before a question: the same for every model, as many as its context holds."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import islice

from transformers import PreTrainedTokenizerBase

from avss_core.evaluation.prompts import Demonstration, chat_prompt, few_shot_prompt
from avss_core.judges.normalisation import question_form
from avss_core.models.encoding import encode


@dataclass(frozen=True)
class FewShot:
    """The prompt of one question, and how many demonstrations did not fit."""

    text: str
    dropped: int


def demonstrations_for(question: str, candidates: Iterable[Demonstration], shots: int) -> list[Demonstration]:
    """Return the first `shots` candidates that do not ask the question itself (`question_form`)."""
    asked = question_form(question)
    return list(islice((shown for shown in candidates if question_form(shown[0]) != asked), shots))


def fitted_prompt(
    tokenizer: PreTrainedTokenizerBase,
    demonstrations: Sequence[Demonstration],
    question: str,
    *,
    room: int | None,
    chat: bool = False,
    name: str = "",
) -> FewShot:
    """Return the prompt with as many whole demonstrations as fit into `room` tokens; the question stays.

    Our reading: the last demonstrations are dropped first, so that a shortened prompt still starts like the
    others and their shared tokens still run once.

    Args:
        tokenizer: the model's tokenizer.
        demonstrations: questions and answers in the order in which they are shown.
        question: what is asked.
        room: most tokens of the prompt, None for any number.
        chat: whether to use the tokenizer's chat template.
        name: the question's id, for the message.

    Raises:
        ValueError: the question alone does not fit, or there is no chat template.
    """
    for dropped in range(len(demonstrations) + 1):
        shown = demonstrations[: len(demonstrations) - dropped]
        text = chat_prompt(tokenizer, shown, question) if chat else few_shot_prompt(shown, question)
        length = 0 if room is None else len(encode(tokenizer, text))
        if room is None or length <= room:
            return FewShot(text, dropped)
    raise ValueError(
        f"the question {name or question[:40]!r} alone has {length} tokens, but the model's context leaves "
        f"room for {room}: shorten it, or lower evaluate.max_new_tokens"
    )
