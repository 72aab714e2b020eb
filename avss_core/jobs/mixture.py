"""What a pruned model is repaired and healed on: text, questions and reviews of which none is a test row."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from transformers import PreTrainedTokenizerBase

from avss_core.data.rows import read_documents, read_prepared
from avss_core.evaluation.prompts import Demonstration
from avss_core.models.batches import token_stream
from avss_core.training.encoders.encoder_text import encoder_windows
from avss_core.training.frozen_prefix import Ids
from avss_core.training.healing_text import Shares, Sources, Windows, healing_windows


@dataclass(frozen=True)
class OwnText:
    """Windows that the dense model wrote."""

    validation: tuple[Ids, ...] = ()
    train: tuple[Ids, ...] = ()


@dataclass(frozen=True)
class Mixture:
    """How much of which kind is learnt from, and what of it stays apart."""

    tokens: int
    validation_tokens: int
    window: int
    shares: Shares
    scored: int
    """First tokens of the calibration text, on which layers are scored."""
    costs: int
    """Tokens behind them, on which the costs of choices are measured."""
    held_out: float
    """Share of the train reviews that validate."""
    chat: bool
    seed: int


def mixed(
    tokenizer: PreTrainedTokenizerBase,
    prepared: Path,
    sets: Sequence[str],
    mixture: Mixture,
    context: int | None,
    *,
    encoder: bool = False,
    scored_too: bool = False,
    own: OwnText = OwnText(),
) -> tuple[Windows, Windows]:
    """Return the windows to learn from and those to validate on.

    Text is the calibration text behind `mixture.costs`: its beginning for validation, the rest to learn from.
    Questions are train and validation rows; reviews are train rows, the last of them for validation.

    Args:
        tokenizer: of both models.
        prepared: folder of the prepared rows and text.
        sets: question sets.
        mixture: amounts and kinds.
        context: positions of the model; None for no limit.
        encoder: whether the models are encoders, which are asked no question.
        scored_too: learn from the text that layers are scored on first; then no question validates.
        own: text that the dense model wrote.
    """
    window = min(mixture.window, context or mixture.window)
    amounts = (mixture.validation_tokens, mixture.tokens)
    shares = replace(mixture.shares, questions=0.0, own_text=0.0) if encoder else mixture.shares
    held, learnt = (shares.of(tokens)["text"] if tokens else 0 for tokens in amounts)
    first = mixture.scored + mixture.costs
    text = token_stream(
        tokenizer,
        read_documents(prepared / "text" / "calibration.json"),
        first + held + learnt,
        encoder=encoder,
    )
    again = text[: mixture.scored] if scored_too else []
    reviews = [(row["text"], row["label"]) for row in read_prepared(prepared / "sst2" / "train.jsonl")]
    last = round(len(reviews) * (1 - mixture.held_out))
    parts = {
        "validation": Sources(
            text[first : first + held],
            {} if scored_too else _questions(prepared, sets, "validation"),
            reviews[last:],
            own.validation,
        ),
        "train": Sources(
            [*again, *text[first + held :]],
            _questions(prepared, sets, "train"),
            reviews[:last],
            own.train,
        ),
    }
    if encoder:
        return encoder_parts(tokenizer, parts, mixture, window)
    validation, train = (
        healing_windows(
            tokenizer,
            sources,
            mixture.shares,
            tokens=tokens,
            window=window,
            seed=mixture.seed,
            chat=mixture.chat,
            repeat=part == "train",
        )
        for (part, sources), tokens in zip(parts.items(), amounts, strict=True)
    )
    return train, validation


def encoder_parts(
    tokenizer: PreTrainedTokenizerBase, parts: Mapping[str, Sources], mixture: Mixture, window: int
) -> tuple[Windows, Windows]:
    """Return the texts that an encoder learns from, and those it validates on; it is asked no question."""
    amounts = {"train": mixture.tokens, "validation": mixture.validation_tokens}
    train, validation = (
        encoder_windows(
            tokenizer, parts[part], mixture.shares, tokens=tokens, window=window, seed=mixture.seed
        )
        for part, tokens in amounts.items()
    )
    return train, validation


def shortages(windows: Windows, label: str) -> list[str]:
    """Return a line for each kind with fewer tokens than asked for."""
    return [
        f"{label}: {kind} holds {counts['tokens']:,} of the {counts['wanted']:,} tokens that were asked for"
        for kind, counts in windows.counts.items()
        if counts["tokens"] < counts["wanted"]
    ]


def _questions(prepared: Path, sets: Iterable[str], part: str) -> dict[str, list[Demonstration]]:
    """Return the questions of a part by set, with the answer that the evaluation would show."""
    return {
        name: [
            (row["question"], row["answers"][0]) for row in read_prepared(prepared / name / f"{part}.jsonl")
        ]
        for name in sets
    }
