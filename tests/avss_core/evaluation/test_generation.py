import math
from collections.abc import Sequence
from itertools import pairwise

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer, decoders, normalizers, pre_tokenizers
from tokenizers.models import BPE
from transformers import PreTrainedModel, PreTrainedTokenizerBase, PreTrainedTokenizerFast

from avss_core.evaluation import shared_prompt
from avss_core.evaluation.generation import Answer, answer_questions
from avss_core.evaluation.likelihood import continuation_log_likelihoods
from avss_core.evaluation.prompts import few_shot_prompt, question_prompt
from avss_core.evaluation.shared_prompt import shared_prefix

END = "<|endoftext|>"
FAMILIES = ("gpt2", "gpt_neox", "llama", "mistral", "opt", "qwen2", "qwen3")
SHOTS = [("Is it on?", "yes"), ("How many?", "7")]
PROMPTS = [
    few_shot_prompt(SHOTS, question)
    for question in ("Who?", "Where is the old red house?", "What?", "Why did it rain on that day?", "So?")
]
NOTHING_IN_COMMON = ["Who wrote it?", "a", "Zoe asked: where is it?", "1 + 1 =", "Who wrote this?"]


def byte_tokenizer(merged: Sequence[str] = (), special: Sequence[str] = ()) -> PreTrainedTokenizerFast:
    """Return a tokenizer of bytes and some pairs of bytes; it drops dollars as real ones may drop spaces."""
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    byte_level = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    pairs = [tuple(byte_level.pre_tokenize_str(pair)[0][0]) for pair in merged]
    vocabulary = {piece: index for index, piece in enumerate([*letters, END, *map("".join, pairs)])}
    raw = Tokenizer(BPE(vocab=vocabulary, merges=pairs))
    raw.pre_tokenizer, raw.decoder = byte_level, decoders.ByteLevel()
    raw.normalizer = normalizers.Replace("$", "")
    return PreTrainedTokenizerFast(
        tokenizer_object=raw, eos_token=END, additional_special_tokens=list(special)
    )


def ord_of(tokenizer: PreTrainedTokenizerBase, piece: str) -> int:
    """Return the id of a text that is one token."""
    (found,) = tokenizer(piece).input_ids
    return int(found)


def chain(tokenizer: PreTrainedTokenizerBase, *pieces: str) -> dict[int, int]:
    """Return the table in which each piece is followed by the next."""
    ids = [ord_of(tokenizer, piece) for piece in pieces]
    return dict(pairwise(ids))


@pytest.fixture(scope="module")
def follows(tiny):
    """A factory of models whose next token follows from the last alone, and the probability with which."""

    def build(table: dict[int, int]) -> tuple[PreTrainedModel, float]:
        width = 264
        sizes = {"vocab_size": width, "hidden_size": width, "head_dim": 8, "intermediate_size": 8}
        model = tiny("llama", layers=1, **sizes, tie_word_embeddings=False, rms_norm_eps=0.0)
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.zero_()
            model.model.norm.weight.fill_(1)
            model.model.embed_tokens.weight.copy_(torch.eye(width))
            for last, following in table.items():
                model.lm_head.weight[following, last] = 0.5
        # The final norm gives the last token's unit vector the length sqrt(width).
        score = math.exp(0.5 * math.sqrt(width))
        return model, score / (score + width - 1)

    return build


@pytest.fixture(scope="module")
def stopping(tiny):
    """A factory of models that end answers early and late: newline and end of text are likely tokens."""

    def build(family: str, tokenizer: PreTrainedTokenizerBase) -> PreTrainedModel:
        model = tiny(family, layers=2, max_position_embeddings=160)
        with torch.no_grad():
            weight = model.get_input_embeddings().weight
            weight[[*tokenizer("\n").input_ids, tokenizer.eos_token_id]] *= 1.6
        return model

    return build


@torch.inference_mode()
def naive_tokens(model, tokenizer, prompt: str, max_new_tokens: int) -> tuple[list[int], list[float]]:
    """Return greedy tokens with their log-probabilities, from a whole forward pass without cache for each."""
    ids = list(tokenizer(prompt).input_ids)
    found, chances = [], []
    for _ in range(max_new_tokens):
        last = model(torch.tensor([ids]), use_cache=False).logits[0, -1].double().log_softmax(-1)
        found.append(int(last.argmax()))
        chances.append(float(last.max()))
        ids.append(found[-1])
        if found[-1] == tokenizer.eos_token_id or tokenizer.decode(found[-1:]) == "\n":
            break
    return found, chances


def naive_answer(model, tokenizer, prompt: str, max_new_tokens: int = 16) -> Answer:
    found, chances = naive_tokens(model, tokenizer, prompt, max_new_tokens)
    ended = found[-1] == tokenizer.eos_token_id or tokenizer.decode(found[-1:]) == "\n"
    kept = len(found) - ended
    text = tokenizer.decode(found[:kept]).strip()
    used = chances[:kept] if text else chances
    return Answer(text, math.prod(map(math.exp, used)) ** (1 / len(used)))


def assert_same(found: Sequence[Answer], expected: Sequence[Answer]) -> None:
    assert [answer.text for answer in found] == [answer.text for answer in expected]
    confidences = [answer.confidence for answer in expected]
    assert [answer.confidence for answer in found] == pytest.approx(confidences, abs=1e-5)


@pytest.mark.parametrize("family", FAMILIES)
def test_answers_equal_a_forward_pass_a_token_for_any_batch_size(family, stopping, tokenizer):
    model = stopping(family, tokenizer)
    expected = [naive_answer(model, tokenizer, prompt, 10) for prompt in PROMPTS]
    for batch_size in (1, 3, 8):
        found = answer_questions(model, tokenizer, PROMPTS, max_new_tokens=10, batch_size=batch_size)
        assert_same(found, expected)


@pytest.mark.parametrize("family", ["llama", "gpt2", "mistral"])
def test_prompts_with_nothing_in_common_get_their_answers(family, stopping, tokenizer):
    model = stopping(family, tokenizer)
    expected = [naive_answer(model, tokenizer, prompt) for prompt in NOTHING_IN_COMMON]
    for batch_size in (1, 8):
        assert_same(answer_questions(model, tokenizer, NOTHING_IN_COMMON, batch_size=batch_size), expected)


def test_the_models_of_these_tests_end_answers_in_every_way(stopping, tokenizer):
    kinds, lengths = set(), set()
    for family in ("llama", "gpt2", "mistral"):
        model = stopping(family, tokenizer)
        for prompt in PROMPTS:
            found, _ = naive_tokens(model, tokenizer, prompt, 10)
            lengths.add(len(found))
            last = found[-1]
            kinds.add("end" if last == tokenizer.eos_token_id else tokenizer.decode([last]) == "\n")
    assert kinds == {"end", True, False}
    assert len(lengths) > 3


@pytest.mark.parametrize("family", ["llama", "gpt2"])
def test_answers_equal_greedy_generate_cut_at_the_newline(family, stopping, tokenizer):
    model = stopping(family, tokenizer)
    found = answer_questions(model, tokenizer, PROMPTS, max_new_tokens=12)
    for prompt, answer in zip(PROMPTS, found, strict=True):
        inputs = tokenizer(prompt, return_tensors="pt")
        whole = model.generate(**inputs, do_sample=False, max_new_tokens=12)[0, inputs.input_ids.shape[1] :]
        text = tokenizer.decode(whole, skip_special_tokens=True).split("\n")[0].strip()
        assert answer.text == text


@pytest.mark.parametrize("family", ["llama", "gpt2", "mistral"])
def test_answers_do_not_depend_on_the_other_prompts(family, stopping, tokenizer):
    model = stopping(family, tokenizer)
    together = answer_questions(model, tokenizer, PROMPTS)
    assert_same([answer_questions(model, tokenizer, [prompt])[0] for prompt in PROMPTS], together)
    # A prompt that starts otherwise leaves nothing to share.
    assert_same(answer_questions(model, tokenizer, [*PROMPTS, "x"])[:-1], together)
    assert_same(answer_questions(model, tokenizer, PROMPTS[::-1])[::-1], together)


def test_equal_prompts_get_equal_answers(tiny_model, tokenizer):
    first, second = answer_questions(tiny_model, tokenizer, ["Who?", "Who?"], max_new_tokens=3)
    assert_same([first], [second])


def test_the_shared_prompt_runs_once(tiny_llama, tokenizer):
    seen = []
    handle = tiny_llama.model.embed_tokens.register_forward_hook(
        lambda _m, args, _o: seen.append(args[0].shape)
    )
    answer_questions(tiny_llama, tokenizer, PROMPTS, max_new_tokens=1, batch_size=2)
    handle.remove()
    shared = shared_prefix([tokenizer(prompt).input_ids for prompt in PROMPTS])
    assert shared > 50
    assert seen[0] == (1, shared)
    assert sum(shape[0] for shape in seen[1:]) == len(PROMPTS)
    assert max(shape[1] for shape in seen[1:]) == max(map(len, PROMPTS)) - shared


def test_a_finished_answer_leaves_its_batch(follows, tokenizer):
    table = {ord_of(tokenizer, "a"): ord_of(tokenizer, "\n"), ord_of(tokenizer, "b"): ord_of(tokenizer, "b")}
    model, _ = follows(table)
    rows = []
    handle = model.model.embed_tokens.register_forward_hook(lambda _m, args, _o: rows.append(len(args[0])))
    answers = answer_questions(model, tokenizer, ["xa", "yb"], max_new_tokens=3)
    handle.remove()
    assert [answer.text for answer in answers] == ["", "bbb"]
    assert rows == [2, 1, 1]


def test_no_prompt_gives_no_answer(tiny_model, tokenizer):
    assert answer_questions(tiny_model, tokenizer, []) == []


def test_an_end_of_text_at_once_is_an_empty_answer_with_its_probability(follows, tokenizer):
    model, chance = follows(chain(tokenizer, ":", END))
    (answer,) = answer_questions(model, tokenizer, [question_prompt("Who?")])
    assert answer.text == ""
    assert answer.confidence == pytest.approx(chance, rel=1e-5)


def test_an_end_of_the_generation_settings_ends_an_answer_too(follows, tokenizer):
    model, _ = follows(chain(tokenizer, ":", "a", "b", END, "c", "\n"))
    for ends, text in ((ord_of(tokenizer, "b"), "a"), ([ord_of(tokenizer, "b"), 256], "a"), (None, "ab")):
        model.generation_config.eos_token_id = ends
        assert answer_questions(model, tokenizer, ["Q:"])[0].text == text


def test_a_full_stop_or_comma_does_not_end_an_answer(follows, tokenizer):
    model, chance = follows(chain(tokenizer, ":", "J", ".", " ", "R", ",", "x", "\n"))
    (answer,) = answer_questions(model, tokenizer, ["Q:"])
    assert answer.text == "J. R,x"
    assert answer.confidence == pytest.approx(chance, rel=1e-5)


def test_the_token_after_the_answer_does_not_count(follows, tokenizer):
    model, chance = follows(chain(tokenizer, ":", "a"))  # what follows "a" is anything at 1 in 264
    (answer,) = answer_questions(model, tokenizer, ["Q:"], max_new_tokens=1)
    assert answer.text == "a"
    assert answer.confidence == pytest.approx(chance, rel=1e-5)
    (longer,) = answer_questions(model, tokenizer, ["Q:"], max_new_tokens=2)
    assert longer.confidence == pytest.approx(math.sqrt(chance / 264), rel=1e-5)


def test_a_newline_inside_a_token_ends_the_answer_with_the_part_before_it(follows):
    tokenizer = byte_tokenizer([".\n", " \n", "\n\n"])
    model, chance = follows(chain(tokenizer, ":", "a", ".\n", "b"))
    (answer,) = answer_questions(model, tokenizer, ["Q:"])
    assert answer.text == "a."
    assert answer.confidence == pytest.approx(chance, rel=1e-5)


@pytest.mark.parametrize("end", [" \n", "\n\n"])
def test_a_token_of_nothing_but_space_and_newline_is_no_part_of_the_answer(end, follows):
    tokenizer = byte_tokenizer([".\n", " \n", "\n\n"])
    model, chance = follows(chain(tokenizer, ":", "a", end))
    # The end has another probability than the answer, so that it would show in the confidence.
    with torch.no_grad():
        model.lm_head.weight[ord_of(tokenizer, end), ord_of(tokenizer, "a")] = 0.3
    (answer,) = answer_questions(model, tokenizer, ["Q:"])
    assert answer.text == "a"
    assert answer.confidence == pytest.approx(chance, rel=1e-5)


@pytest.mark.parametrize("pieces", [(" ", "\n"), ("\n",), (" ", END)])
def test_an_answer_of_spaces_is_empty_and_its_end_counts(pieces, follows, tokenizer):
    model, chance = follows(chain(tokenizer, ":", *pieces))
    with torch.no_grad():
        # Twice the probability of the other tokens, so that the end still wins.
        model.lm_head.weight[ord_of(tokenizer, pieces[-1])] *= math.log(2) / (0.5 * math.sqrt(264))
    (answer,) = answer_questions(model, tokenizer, ["Q:"])
    assert answer.text == ""
    assert answer.confidence == pytest.approx((chance ** (len(pieces) - 1) * 2 / 265) ** (1 / len(pieces)))


def test_spaces_up_to_the_longest_answer_are_an_empty_answer(follows, tokenizer):
    model, chance = follows({**chain(tokenizer, ":", " "), **chain(tokenizer, " ", " ")})
    (answer,) = answer_questions(model, tokenizer, ["Q:"], max_new_tokens=3)
    assert answer.text == ""
    assert answer.confidence == pytest.approx(chance, rel=1e-5)


def test_a_special_token_does_not_show_in_the_text(follows):
    tokenizer = byte_tokenizer(special=["<|x|>"])
    model, _ = follows(chain(tokenizer, ":", "a", "<|x|>", "b", "\n"))
    assert answer_questions(model, tokenizer, ["Q:"])[0].text == "ab"


@pytest.mark.parametrize("length", [1, 2, 5])
def test_an_answer_stops_at_its_longest(length, follows, tokenizer):
    model, _ = follows(chain(tokenizer, "a", "a"))
    (answer,) = answer_questions(model, tokenizer, ["a"], max_new_tokens=length)
    assert answer.text == "a" * length


def test_an_answer_of_no_token_is_refused(tiny_llama, tokenizer):
    with pytest.raises(ValueError, match="max_new_tokens is 0"):
        answer_questions(tiny_llama, tokenizer, ["Who?"], max_new_tokens=0)


def test_a_prompt_past_the_context_is_refused(tiny_model, tokenizer):
    fits = "a" * 120
    assert len(answer_questions(tiny_model, tokenizer, [fits, "b"], max_new_tokens=8)) == 2
    with pytest.raises(ValueError, match=r"121 tokens and 8 new ones do not fit the model's 128 positions"):
        answer_questions(tiny_model, tokenizer, ["b", fits + "a"], max_new_tokens=8)


def test_logits_that_are_not_numbers_are_refused(tiny, tokenizer):
    model = tiny("llama", layers=1)
    model.lm_head.weight.data[7] = math.inf
    for check in (
        lambda: answer_questions(model, tokenizer, ["Who?"]),
        lambda: continuation_log_likelihoods(model, tokenizer, [("Who", "?")]),
    ):
        with pytest.raises(ValueError, match="a logit is not a finite number"):
            check()


def test_progress_adds_up_to_the_prompts(tiny_llama, tokenizer):
    done: list[int] = []
    answer_questions(tiny_llama, tokenizer, PROMPTS, max_new_tokens=1, batch_size=2, progress=done.append)
    assert done == [2, 2, 1]
    pairs = [(prompt, " a") for prompt in PROMPTS]
    continuation_log_likelihoods(tiny_llama, tokenizer, pairs, batch_size=4, progress=done.append)
    assert done[3:] == [4, 1]


@torch.inference_mode()
def naive_log_likelihood(model, tokenizer, prompt: str, continuation: str) -> tuple[float, int]:
    ids = tokenizer(prompt + continuation).input_ids
    start = len(tokenizer(prompt).input_ids)
    chances = model(torch.tensor([ids]), use_cache=False).logits[0].double().log_softmax(-1)
    return sum(float(chances[place - 1, ids[place]]) for place in range(start, len(ids))), len(ids) - start


PAIRS = [
    (PROMPTS[0], " yes"),
    (PROMPTS[0], " a long answer, with more"),
    (PROMPTS[1], " 7"),
    (PROMPTS[3], " J. R. R."),
]
STRANGE_PAIRS = [
    ("b", "a"),
    ("Zoe asked: where", " is it?"),
    ("a", "bcdefgh"),
    ("1<|endoftext|>2", "<|endoftext|>3"),
]


@pytest.mark.parametrize("pairs", [PAIRS, STRANGE_PAIRS, PAIRS[:1]], ids=["few-shot", "strange", "one"])
@pytest.mark.parametrize("family", FAMILIES)
def test_continuations_score_as_in_a_forward_pass_each(family, pairs, tiny, tokenizer):
    model = tiny(family, layers=2, max_position_embeddings=160)
    expected = [naive_log_likelihood(model, tokenizer, *pair) for pair in pairs]
    for batch_size in (1, 3, 32):
        found = continuation_log_likelihoods(model, tokenizer, pairs, batch_size=batch_size)
        assert [tokens for _, tokens in found] == [tokens for _, tokens in expected]
        assert [score for score, _ in found] == pytest.approx([score for score, _ in expected], abs=1e-4)


def test_pieces_of_a_text_add_up_to_the_whole(tiny_model, tokenizer):
    pairs = [("Q: who?", " Ada L."), ("Q: who?", " Ada"), ("Q: who? Ada", " L.")]
    whole, first, second = continuation_log_likelihoods(tiny_model, tokenizer, pairs)
    assert first[0] + second[0] == pytest.approx(whole[0], abs=1e-4)
    assert first[1] + second[1] == whole[1] == 7


def test_a_merge_over_the_boundary_scores_the_merged_token(tiny_llama):
    tokenizer = byte_tokenizer([".\n"])
    ((score, tokens),) = continuation_log_likelihoods(tiny_llama, tokenizer, [("ab.", "\n")])
    a, b, merged = tokenizer("ab.\n").input_ids
    logits = tiny_llama(torch.tensor([[a, b]])).logits[0, -1].detach()
    assert tokens == 1
    assert score == pytest.approx(float(logits.log_softmax(-1)[merged]), abs=1e-4)


def test_a_continuation_that_a_tokenizer_drops_falls_back_to_the_last_token(tiny_llama):
    tokenizer = byte_tokenizer()
    ((score, tokens),) = continuation_log_likelihoods(tiny_llama, tokenizer, [("ab", "$")])
    expected = continuation_log_likelihoods(tiny_llama, tokenizer, [("a", "b")])
    assert (score, tokens) == pytest.approx(expected[0])


def test_no_pair_gives_no_score(tiny_llama, tokenizer):
    assert continuation_log_likelihoods(tiny_llama, tokenizer, []) == []


def test_an_empty_continuation_is_refused(tiny_llama, tokenizer):
    with pytest.raises(ValueError, match=r"continuation '' of 'Who\?' adds no token"):
        continuation_log_likelihoods(tiny_llama, tokenizer, [("a", "b"), ("Who?", "")])


def test_a_continuation_of_nothing_is_refused(tiny_llama, tokenizer):
    # Without a beginning-of-text token nothing predicts the first token.
    with pytest.raises(ValueError, match="continuation 'Who' of '' adds no token"):
        continuation_log_likelihoods(tiny_llama, tokenizer, [("", "Who")])


def test_a_pair_past_the_context_is_refused(tiny_llama, tokenizer):
    assert continuation_log_likelihoods(tiny_llama, tokenizer, [("a" * 100, "b" * 28)])[0][1] == 28
    with pytest.raises(ValueError, match="129 tokens"):
        continuation_log_likelihoods(tiny_llama, tokenizer, [("a" * 100, "b" * 29)])


def test_shared_prefix_of_hand_made_sequences():
    assert shared_prefix([[1, 2, 3], [1, 2, 4, 5]]) == 2
    assert shared_prefix([[1, 2, 3], [1, 2]]) == 1
    assert shared_prefix([[1, 2, 3], [1, 2]], keep=0) == 2
    assert shared_prefix([[1, 2], [3]]) == 0
    assert shared_prefix([[1, 2, 3]]) == 2
    assert shared_prefix([[], [1]]) == 0


@given(st.lists(st.lists(st.integers(0, 2), max_size=6), min_size=1, max_size=5), st.integers(0, 2))
def test_shared_prefix_equals_a_loop(sequences, keep):
    longest = max(0, min(map(len, sequences)) - keep)
    shared = 0
    while shared < longest and len({sequence[shared] for sequence in sequences}) == 1:
        shared += 1
    assert shared_prefix(sequences, keep) == shared


def test_the_shared_prompt_is_left_out_only_where_a_window_would_slide(tiny, tokenizer, monkeypatch):
    kept = []
    real = shared_prompt._run
    monkeypatch.setattr(shared_prompt, "_run", lambda m, ids: kept.append(len(ids)) or real(m, ids))
    for family, field in (("mistral", "sliding_window"), ("gpt_neo", "window_size")):
        for window in (8, 128):
            model = tiny(family, layers=1, **{field: window})
            answer_questions(model, tokenizer, ["aaaaaaaab", "aaaaaaaaccc"], max_new_tokens=1)
    assert kept == [0, 8, 0, 8]


@pytest.mark.parametrize("family", ["llama", "gpt2"])
def test_batches_of_1_8_and_32_give_the_same_answers_and_log_probabilities(family, stopping, tokenizer):
    model = stopping(family, tokenizer)
    prompts = [few_shot_prompt(SHOTS, "Who " + "and who " * (n % 6) + str(n) + "?") for n in range(40)]
    given = [[" a", f" {n} and more"] for n in range(40)]
    one, *others = [
        answer_questions(model, tokenizer, prompts, given=given, max_new_tokens=8, batch_size=size)
        for size in (1, 8, 32)
    ]
    for found in others:
        assert [answer.text for answer in found] == [answer.text for answer in one]
        for first, second in zip(one, found, strict=True):
            assert math.log(second.confidence) == pytest.approx(math.log(first.confidence), abs=1e-4)
            assert second.given == pytest.approx(first.given, abs=1e-4)


def test_what_all_rows_share_is_not_copied_when_rows_leave():
    layer = shared_prompt.DynamicLayer()
    keys = torch.arange(6.0).view(1, 1, 3, 2)
    layer.update(keys, -keys)
    roomy = shared_prompt.RoomyLayer(layer, rows=3, room=5)
    new = torch.arange(6.0).view(3, 1, 1, 2) + 10
    roomy.update(new, -new)
    before = roomy.keys.data_ptr()
    roomy.batch_select_indices(torch.tensor([0, 2]))
    expected = torch.cat([keys.expand(2, -1, -1, -1), new[[0, 2]]], 2)
    assert torch.equal(roomy.keys, expected)
    assert torch.equal(roomy.values, -expected)
    assert roomy.keys.data_ptr() == before


def test_rows_are_copied_as_often_as_they_are_named_and_stay_as_they_were():
    layer = shared_prompt.DynamicLayer()
    keys = torch.arange(6.0).view(1, 1, 3, 2)
    layer.update(keys, -keys)
    roomy = shared_prompt.RoomyLayer(layer, rows=3, room=5)
    own = torch.arange(6.0).view(3, 1, 1, 2) + 10
    roomy.update(own, -own)
    copied = roomy.copied(torch.tensor([2, 0, 2, 2]), new_tokens=1)
    new = torch.arange(8.0).view(4, 1, 1, 2) + 20
    copied.update(new, -new)
    expected = torch.cat([keys.expand(4, -1, -1, -1), own[[2, 0, 2, 2]], new], 2)
    assert torch.equal(copied.keys, expected)
    assert torch.equal(copied.values, -expected)
    assert torch.equal(roomy.keys, torch.cat([keys.expand(3, -1, -1, -1), own], 2))
    assert roomy.get_seq_length() == 4
