import math

import pytest
import torch
from tokenizers import Tokenizer, decoders, pre_tokenizers
from tokenizers.models import BPE
from transformers import PreTrainedTokenizerFast

from avss_core.evaluation.generation import answer_questions
from avss_core.evaluation.likelihood import continuation_log_likelihoods, gold_nll, preference_margin
from avss_core.evaluation.prompts import few_shot_prompt

FAMILIES = ("gpt2", "gpt_neo", "llama", "mistral", "qwen2")
SHOTS = [("Is it on?", "yes"), ("How many?", "7")]
QUESTIONS = ["Who?", "Where is the old red house?", "What?", "Why did it rain on that day?", "So?"]
PROMPTS = [few_shot_prompt(SHOTS, question) for question in QUESTIONS]
GIVEN = [[" a", " Ada L."], [], [" seven and a half, and more"], [" x", " yy", " zzz"], [" no"]]


def means_of(model, tokenizer, prompts, given):
    """Return the mean log-probability of each text from one forward pass of all its tokens."""
    found = []
    for prompt, texts in zip(prompts, given, strict=True):
        own = []
        for text in texts:
            ids, start = tokenizer(prompt + text).input_ids, len(tokenizer(prompt).input_ids)
            with torch.inference_mode():
                chances = model(torch.tensor([ids]), use_cache=False).logits[0].double().log_softmax(-1)
            own.append(
                sum(float(chances[i - 1, ids[i]]) for i in range(start, len(ids))) / (len(ids) - start)
            )
        found.append(own)
    return found


@pytest.mark.parametrize("batch_size", [1, 3, 8])
@pytest.mark.parametrize("family", FAMILIES)
def test_given_answers_score_as_in_a_forward_pass_each(family, batch_size, tiny, tokenizer):
    model = tiny(family, layers=2, max_position_embeddings=160)
    found = answer_questions(model, tokenizer, PROMPTS, given=GIVEN, max_new_tokens=4, batch_size=batch_size)
    alone = answer_questions(model, tokenizer, PROMPTS, max_new_tokens=4, batch_size=batch_size)
    assert [answer.text for answer in found] == [answer.text for answer in alone]
    assert [answer.confidence for answer in found] == [answer.confidence for answer in alone]
    expected = means_of(model, tokenizer, PROMPTS, GIVEN)
    assert [len(answer.given) for answer in found] == [len(own) for own in expected]
    for answer, own in zip(found, expected, strict=True):
        assert answer.given == pytest.approx(tuple(own), abs=1e-4)


def test_given_answers_of_one_length_are_read_together_whichever_prompts_they_follow(tiny_llama, tokenizer):
    seen = []
    handle = tiny_llama.model.embed_tokens.register_forward_hook(
        lambda _m, args, _o: seen.append(tuple(args[0].shape))
    )
    given = [[" abcdefg", " a", " gfedcba"], [" b"], []]
    answer_questions(tiny_llama, tokenizer, ["Q: x", "Q: y", "Q: z"], given=given, max_new_tokens=1)
    handle.remove()
    # The shared start, the three prompts' own ends, then all but the last token of 3 and of 1 given answer.
    lengths = sorted(len(tokenizer(text).input_ids) for own in given for text in own)
    assert lengths == [2, 2, 8, 8]
    assert seen == [(1, 3), (3, 1), (3, 7), (1, 7)]


def test_texts_that_differ_in_their_last_token_alone_are_read_once(tiny_llama, tokenizer):
    seen = []
    handle = tiny_llama.model.embed_tokens.register_forward_hook(
        lambda _m, args, _o: seen.append(tuple(args[0].shape))
    )
    pairs = [("Q: x", "a"), ("Q: yyy", "a"), ("Q: x", "b"), ("Q: x", "bc")]
    found = continuation_log_likelihoods(tiny_llama, tokenizer, pairs)
    handle.remove()
    # The shared start "Q: ", then "x" for two of them, "yyy" and "xb".
    assert seen == [(1, 3), (3, 3)]
    alone = [continuation_log_likelihoods(tiny_llama, tokenizer, [pair])[0] for pair in pairs]
    assert [score for score, _ in found] == pytest.approx([score for score, _ in alone], abs=1e-5)
    assert [tokens for _, tokens in found] == [1, 1, 1, 2]


def test_a_given_answer_longer_than_a_piece_scores_whole(tiny_model, tokenizer):
    text = " " + "abc " * 12
    ((score,),) = [a.given for a in answer_questions(tiny_model, tokenizer, ["Q:"], given=[[text]])]
    ((total, tokens),) = continuation_log_likelihoods(tiny_model, tokenizer, [("Q:", text)])
    assert tokens == 49
    assert score == pytest.approx(total / tokens, abs=1e-4)


def test_a_given_answer_past_the_context_is_none_and_the_others_score(tiny_model, tokenizer):
    prompt = "a" * 110
    (answer,) = answer_questions(
        tiny_model, tokenizer, [prompt], given=[["b" * 18, "b" * 19]], max_new_tokens=2
    )
    assert answer.given[0] is not None
    assert answer.given[1] is None


def test_a_given_answer_that_grows_together_with_the_prompt_scores_the_joint_token(tiny_llama):
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {piece: index for index, piece in enumerate([*letters, "<|endoftext|>", ".Ċ"])}
    raw = Tokenizer(BPE(vocab=vocabulary, merges=[(".", "Ċ")]))
    raw.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    raw.decoder = decoders.ByteLevel()
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=raw, eos_token="<|endoftext|>")
    (answer,) = answer_questions(tiny_llama, tokenizer, ["ab."], given=[["\n"]])
    ((total, tokens),) = continuation_log_likelihoods(tiny_llama, tokenizer, [("ab.", "\n")])
    assert answer.given == pytest.approx((total / tokens,))


def test_a_given_answer_without_a_token_is_refused(tiny_llama, tokenizer):
    with pytest.raises(ValueError, match=r"continuation '' of 'Who\?' adds no token"):
        answer_questions(tiny_llama, tokenizer, ["Who?"], given=[[""]])


def test_the_gold_loss_is_that_of_the_likeliest_accepted_answer():
    assert gold_nll([math.log(0.25), math.log(0.5)]) == pytest.approx(math.log(2))
    assert gold_nll([]) is None


def test_the_best_accepted_answer_must_beat_every_wrong_one():
    assert preference_margin([-1.0, -3.0], [-2.0, -4.0]) == 1.0
    assert preference_margin([-3.0], [-4.0, -1.0]) == -2.0
    assert preference_margin([], [-1.0]) is None
    assert preference_margin([-1.0], []) is None
