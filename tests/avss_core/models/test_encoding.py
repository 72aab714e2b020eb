import ast
import copy
from pathlib import Path

import pytest
from tokenizers.processors import BertProcessing, ByteLevel, Sequence, TemplateProcessing
from transformers import PreTrainedModel, PreTrainedTokenizerFast

import avss_core
from avss_core.evaluation.generation import answer_questions
from avss_core.evaluation.likelihood import continuation_log_likelihoods
from avss_core.evaluation.sentiment import LABEL_WORDS, sentiment_prompt
from avss_core.hallucination.samples import answer_tokens
from avss_core.models.batches import token_stream
from avss_core.models.encoding import encode, opening_tokens
from avss_core.training.healing_text import Shares, Sources, healing_windows, text_windows

END = 256
PROMPTS = ["Question: Who?\nAnswer:", "Question: Who was the first?\nAnswer:"]


def templated(tokenizer: PreTrainedTokenizerFast, single: str) -> PreTrainedTokenizerFast:
    """The tokenizer with a template that puts <|endoftext|> (E) or <s> (B) at its ends."""
    marked = copy.deepcopy(tokenizer)
    marked.add_special_tokens({"bos_token": "<s>"})
    marks = {"E": "<|endoftext|>", "B": "<s>"}
    names = [marks.get(part, part) for part in single.split()]
    tokens = [(name, marked.convert_tokens_to_ids(name)) for name in dict.fromkeys(names) if "$" not in name]
    template = TemplateProcessing(single=" ".join(names), special_tokens=tokens)
    marked.backend_tokenizer.post_processor = Sequence([ByteLevel(trim_offsets=False), template])
    return marked


TEMPLATES = {
    "$A E": [],
    "$A E E": [],
    "B $A": ["<s>"],
    "B $A E": ["<s>"],
    "E $A E": ["<|endoftext|>"],
    "B E $A B": ["<s>", "<|endoftext|>"],
}


@pytest.fixture(params=TEMPLATES)
def pair(
    request: pytest.FixtureRequest, tokenizer: PreTrainedTokenizerFast
) -> tuple[PreTrainedTokenizerFast, PreTrainedTokenizerFast]:
    """A tokenizer that adds tokens at either end, and one that adds those in front alone."""
    front = request.param[: request.param.index("$A") + 2]
    return templated(tokenizer, request.param), templated(tokenizer, front)


@pytest.mark.parametrize("single", TEMPLATES)
@pytest.mark.parametrize("text", ["", "a", "Who? Zwölf.\n\n", "an <|endoftext|> inside"])
def test_a_text_has_the_tokens_in_front_and_none_behind(
    tokenizer: PreTrainedTokenizerFast, single: str, text: str
) -> None:
    marked = templated(tokenizer, single)
    front = marked.convert_tokens_to_ids(TEMPLATES[single])
    assert opening_tokens(marked) == front
    assert encode(marked, text) == front + marked(text, add_special_tokens=False).input_ids


def test_a_processor_of_another_kind_is_cut_too(tokenizer: PreTrainedTokenizerFast) -> None:
    marked = templated(tokenizer, "B $A")
    start = marked.bos_token_id
    marked.backend_tokenizer.post_processor = BertProcessing(("<|endoftext|>", END), ("<s>", start))
    assert marked("a").input_ids == [start, *tokenizer("a").input_ids, END]
    assert encode(marked, "a") == [start, *tokenizer("a").input_ids]


def test_tokens_in_front_that_a_text_writes_itself_are_not_doubled(
    tokenizer: PreTrainedTokenizerFast,
) -> None:
    marked = templated(tokenizer, "B $A E")
    assert encode(marked, "<s>Who?") == encode(marked, "Who?")


def test_running_text_has_no_token_of_a_template_between_or_behind_its_documents(pair) -> None:
    both, front = pair
    ids = token_stream(both, ["One.", "Two."], 100)
    assert ids == token_stream(front, ["One.", "Two."], 100)
    assert both.decode(ids[len(opening_tokens(both)) :]) == "One.\n\nTwo.\n\n"
    assert text_windows(ids, 4) == text_windows(token_stream(front, ["One.", "Two."], 100), 4)


def test_answers_and_their_scores_are_those_without_an_end_token(tiny_llama: PreTrainedModel, pair) -> None:
    given = [[" Paris", " the second one"], [" 7"]]
    pairs = [(PROMPTS[0], " Paris"), *((sentiment_prompt("good"), word) for word in LABEL_WORDS)]
    both, front = (
        (
            answer_questions(tiny_llama, each, PROMPTS, given=given, max_new_tokens=4),
            continuation_log_likelihoods(tiny_llama, each, pairs),
        )
        for each in pair
    )
    assert both == front
    assert [tokens for _, tokens in both[1]] == [len(text) for _, text in pairs]


def test_windows_to_heal_on_are_those_without_an_end_token(pair) -> None:
    sources = Sources(
        questions={"nq": [("Who?", "Ada"), ("When?", "1815")]}, reviews=[("good", 1), ("bad", 0)]
    )
    both, front = (
        healing_windows(each, sources, Shares(0.0, 1.0, 1.0), tokens=200, window=64, seed=0) for each in pair
    )
    assert both == front


def test_the_tokens_of_an_answer_end_with_the_answer(pair) -> None:
    both, front = pair
    assert answer_tokens(both, "Who?", "Ada") == answer_tokens(front, "Who?", "Ada")
    ids, start = answer_tokens(both, "Who?", "Ada")
    assert both.decode(ids[start:]) == " Ada"


def test_no_other_module_turns_a_text_into_ids_by_itself() -> None:
    # These two ask whether a tokenizer works at all, without the tokens that its template adds.
    known = {"models/encoding.py", "models/loading.py", "surgery/checks.py"}
    root = Path(avss_core.__file__).parent
    for folder in (root, root.parent / "tasks", root.parent / "flows"):
        for path in folder.rglob("*.py"):
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
                called = node.func if isinstance(node, ast.Call) else None
                if isinstance(called, ast.Name) and called.id == "tokenizer":
                    assert path.relative_to(folder).as_posix() in known, f"{path}:{node.lineno}"
