import pytest
from tokenizers import processors

from avss_core.evaluation.prompts import chat_prompt, few_shot_prompt, question_prompt
from avss_core.models.encoding import encode

TEMPLATE = (
    "{{ bos_token }}{% for m in messages %}<{{ m.role }}>{{ m.content }}<|endoftext|>{% endfor %}"
    "{% if add_generation_prompt %}<assistant>{% endif %}"
)


@pytest.fixture
def with_bos(tokenizer):
    """A tokenizer that begins each text with <|endoftext|>, as GPT-2's does where it is told to."""
    found = type(tokenizer)(
        tokenizer_object=tokenizer.backend_tokenizer,
        eos_token="<|endoftext|>",
        bos_token="<|endoftext|>",
        chat_template=TEMPLATE,
    )
    found.backend_tokenizer.post_processor = processors.TemplateProcessing(
        single="<|endoftext|> $A", special_tokens=[("<|endoftext|>", found.eos_token_id)]
    )
    yield found
    found.backend_tokenizer.post_processor = processors.ByteLevel()


def test_prompts_show_demonstrations_before_the_question():
    assert question_prompt("Who?") == "Question: Who?\nAnswer:"
    assert few_shot_prompt([], "Who?") == question_prompt("Who?")
    assert few_shot_prompt([("A?", "b")], "Who?") == "Question: A?\nAnswer: b\n\nQuestion: Who?\nAnswer:"


def test_a_chat_has_demonstrations_as_turns_and_ends_where_the_assistant_speaks(with_bos):
    found = chat_prompt(with_bos, [("A?", "b")], "Who?")
    end = "<|endoftext|>"
    assert found == f"{end}<user>A?{end}<assistant>b{end}<user>Who?{end}<assistant>"


def test_a_model_without_a_chat_template_is_named(tokenizer, tmp_path):
    tokenizer.save_pretrained(tmp_path / "plain")
    plain = type(tokenizer).from_pretrained(tmp_path / "plain")
    with pytest.raises(ValueError, match=r"tokenizer of .*plain has no chat template"):
        chat_prompt(plain, [], "Who?")


def test_a_text_begins_with_one_beginning_token_where_the_tokenizer_has_one(with_bos):
    ids = encode(with_bos, question_prompt("Who?"))
    assert ids[0] == with_bos.bos_token_id
    assert ids.count(with_bos.bos_token_id) == 1


def test_a_chat_that_writes_its_beginning_token_gets_no_second_one(with_bos):
    ids = encode(with_bos, chat_prompt(with_bos, [], "Who?"))
    assert ids[0] == with_bos.bos_token_id != ids[1]
    assert with_bos(chat_prompt(with_bos, [], "Who?")).input_ids[:2] == [with_bos.bos_token_id] * 2


def test_a_tokenizer_without_a_beginning_token_adds_none(tokenizer):
    assert tokenizer.decode(encode(tokenizer, "Who?")) == "Who?"
