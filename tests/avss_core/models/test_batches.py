import copy
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tokenizers.processors import TemplateProcessing
from transformers import PreTrainedModel, PreTrainedTokenizerFast

from avss_core.models.batches import Batch, pad, text_batches, token_stream, windows

END = 256


@pytest.fixture(scope="module")
def opening_tokenizer(tokenizer: PreTrainedTokenizerFast) -> PreTrainedTokenizerFast:
    """The tokenizer, made to open every text with a beginning-of-text token by itself."""
    opening = copy.deepcopy(tokenizer)
    template = TemplateProcessing(single="<|endoftext|> $A", special_tokens=[("<|endoftext|>", END)])
    opening.backend_tokenizer.post_processor = template
    return opening


def text(tokenizer: PreTrainedTokenizerFast, ids: list[int]) -> str:
    return str(tokenizer.decode(ids))


def counted(batch: Batch) -> list[list[int]]:
    return [row[chosen].tolist() for row, chosen in zip(batch.ids, batch.counted, strict=True)]


def test_the_stream_joins_documents_by_a_blank_line(tokenizer: PreTrainedTokenizerFast) -> None:
    ids = token_stream(tokenizer, ["One.", "Zwölf."], 100)
    assert text(tokenizer, ids) == "One.\n\nZwölf.\n\n"
    assert END not in ids


@pytest.mark.parametrize("limit", [1, 4, 5, 6, 7, 13, 14, 100])
def test_the_limit_cuts_the_stream_and_nothing_else(tokenizer: PreTrainedTokenizerFast, limit: int) -> None:
    whole = token_stream(tokenizer, ["abcd", "efghij"], 10**6)
    assert len(whole) == 14
    assert token_stream(tokenizer, ["abcd", "efghij"], limit) == whole[:limit]


def test_no_document_is_read_beyond_the_limit(tokenizer: PreTrainedTokenizerFast) -> None:
    def documents() -> Iterator[str]:
        yield "abcd"
        yield "efgh"
        raise RuntimeError("read too far")

    assert len(token_stream(tokenizer, documents(), 12)) == 12


def test_a_beginning_token_stands_once_where_the_tokenizer_has_one(
    opening_tokenizer: PreTrainedTokenizerFast,
) -> None:
    ids = token_stream(opening_tokenizer, ["ab", "cd", "ef"], 100)
    assert ids[0] == END
    assert ids.count(END) == 1
    assert text(opening_tokenizer, ids[1:]) == "ab\n\ncd\n\nef\n\n"


def test_documents_without_text_leave_no_trace(opening_tokenizer: PreTrainedTokenizerFast) -> None:
    blank = ["", "ab", " \n", "", "cd"]
    assert token_stream(opening_tokenizer, blank, 100) == token_stream(opening_tokenizer, ["ab", "cd"], 100)


@pytest.mark.parametrize("documents", [[], [""], ["", " \n\t"]])
def test_a_source_without_text_is_refused(tokenizer: PreTrainedTokenizerFast, documents: list[str]) -> None:
    with pytest.raises(ValueError, match="holds no text"):
        token_stream(tokenizer, documents, 10)


def test_windows_of_a_known_stream() -> None:
    first, second = windows(range(10, 20), 4, batch_size=2)
    assert first.ids.tolist() == [[10, 11, 12, 13], [14, 15, 16, 17]]
    assert (first.first_sample, second.first_sample) == (0, 2)
    assert counted(first) == [[11, 12, 13], [15, 16, 17]]
    assert second.ids.tolist() == [[18, 19]]
    assert counted(second) == [[19]]
    assert second.attention.all()


def test_a_shorter_last_window_is_padded_on_the_right() -> None:
    (batch,) = windows([1, 2, 3, 4], 3, batch_size=9)
    assert batch.ids.tolist() == [[1, 2, 3], [4, 0, 0]]
    assert batch.attention.tolist() == [[True, True, True], [True, False, False]]
    assert counted(batch) == [[2, 3], []]


def test_windows_may_count_the_first_position() -> None:
    (batch,) = windows([1, 2, 3, 4], 3, batch_size=2, skip_first=False)
    assert counted(batch) == [[1, 2, 3], [4]]


def test_an_empty_stream_has_no_windows() -> None:
    assert list(windows([], 4, 2)) == []


@given(st.integers(1, 60), st.integers(1, 9), st.integers(1, 5))
def test_windows_hold_each_token_once_in_order(length: int, window: int, size: int) -> None:
    batches = list(windows(range(1, length + 1), window, size, skip_first=False))
    assert [token for batch in batches for row in counted(batch) for token in row] == list(
        range(1, length + 1)
    )
    assert [batch.first_sample for batch in batches] == list(range(0, -(-length // window), size))


def test_padding_on_each_side() -> None:
    right, left = (pad([[5, 6, 7], [8]], left=side, fill=99) for side in (False, True))
    assert right.ids.tolist() == [[5, 6, 7], [8, 99, 99]]
    assert left.ids.tolist() == [[5, 6, 7], [99, 99, 8]]
    assert right.attention.tolist() == [[True] * 3, [True, False, False]]
    assert left.attention.tolist() == [[True] * 3, [False, False, True]]
    assert torch.equal(left.counted, left.attention)


@pytest.mark.parametrize("left", [False, True])
@pytest.mark.parametrize("skip", [0, 1, 2, 5])
def test_only_real_positions_after_the_skipped_ones_count(left: bool, skip: int) -> None:
    samples = [[1, 2, 3, 4], [5, 6], [7]]
    assert counted(pad(samples, left=left, skip=skip)) == [sample[skip:] for sample in samples]


def test_inputs_number_real_positions_from_zero() -> None:
    inputs = pad([[5, 6, 7], [8]], left=True).inputs(torch.device("cpu"))
    assert inputs["position_ids"].tolist() == [[0, 1, 2], [0, 0, 0]]
    assert inputs["attention_mask"].tolist() == [[1, 1, 1], [0, 0, 1]]
    assert inputs["input_ids"].tolist() == [[5, 6, 7], [0, 0, 8]]
    assert inputs["use_cache"] is False


@pytest.mark.parametrize("left", [False, True])
def test_a_padded_batch_gives_the_logits_of_each_sequence_alone(
    tiny_model: PreTrainedModel, left: bool
) -> None:
    samples = [[1, 2, 3, 4, 5, 6], [7], [8, 9, 10]]
    batch = pad(samples, left=left, fill=77)
    device = torch.device("cpu")
    with torch.inference_mode():
        together = tiny_model(**batch.inputs(device)).logits
        for row, sample in enumerate(samples):
            inputs: dict[str, Any] = pad([sample]).inputs(device)
            alone = tiny_model(**inputs).logits[0]
            torch.testing.assert_close(together[row][batch.attention[row]], alone, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("parts", [1, 2, 3, 7])
def test_the_parts_of_a_text_are_its_windows_in_runs(tokenizer: PreTrainedTokenizerFast, parts: int) -> None:
    texts, sizes = ["one two three", "four five"], {"tokens": 22, "window": 5, "batch_size": 2}
    whole = token_stream(tokenizer, texts, 22)
    dealt = [text_batches(tokenizer, texts, **sizes, part=part, parts=parts) for part in range(parts)]
    rows = [
        row[real].tolist()
        for part in dealt
        for batch in part
        for row, real in zip(batch.ids, batch.attention, strict=True)
    ]
    assert rows == [whole[:5], whole[5:10], whole[10:15], whole[15:20], whole[20:]]
    assert sum(batch.tokens for part in dealt for batch in part) == 22
    assert any(not part for part in dealt) == (parts > 5)  # there are five windows
    starts = [part[0].first_sample for part in dealt if part]
    assert starts == sorted({5 * part // parts for part in range(parts)})
