"""The model card of a pruned checkpoint from the records of a run."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from avss_core.models.locations import base_model, gguf_file
from avss_core.surgery.cards import Kept, model_card
from avss_core.surgery.certificate_records import Certificate


def card_of(
    model: str,
    certificate: Certificate,
    *,
    scores: Sequence[float] = (),
    kept: Sequence[Kept] = (),
    timed: bool = True,
) -> str:
    """Return the card of a checkpoint that was made of a model, which is a name, a Hub id or a folder."""
    base = base_model(model)
    name = model if base else Path(model).name  # a card names no place on this machine
    quantised = gguf_file(model)
    return model_card(name, certificate, base, quantised, scores=scores, kept=kept, timed=timed)


def calibration_loss(scores: Mapping[str, Any]) -> Kept:
    """Return the loss with and without the removed layers on held-out calibration text."""
    before, after = scores["dense"], scores["readings"][scores["chosen"]]["cost"]
    return _loss(f"held-out calibration text, nats a token ({before['tokens']:,} tokens)", before, after)


def evaluated(evaluation: Mapping[str, Any]) -> list[Kept]:
    """Return what the evaluation measured of both models."""
    before, after = evaluation["dense"], evaluation["pruned"]
    changes = evaluation["pruned_against_dense"]
    rows = [
        Kept(
            f"{name}, accuracy (n = {found['n']}, judge {found['judge']})",
            before["sets"][name]["accuracy"]["value"],
            found["accuracy"]["value"],
            changes[name]["retention"],
        )
        for name, found in after["sets"].items()
    ]
    texts = [side["language_modelling"] for side in (before, after)]
    feelings = [side["sentiment"]["accuracy"]["value"] for side in (before, after)]
    review = f"sentiment, accuracy (n = {after['sentiment']['n']})"
    sentiment = Kept(review, feelings[0], feelings[1], _share(feelings[0], feelings[1]))
    return [*rows, sentiment, _loss(f"test text, nats a token ({texts[0]['tokens']:,} tokens)", *texts)]


def _loss(task: str, before: Mapping[str, Any], after: Mapping[str, Any]) -> Kept:
    """Return two losses; what is kept of one is the first over the second, since lower is better."""
    return Kept(task, before["nll"], after["nll"], before["nll"] / after["nll"])


def _share(before: float | None, after: float | None) -> float | None:
    """Return the share of a figure that is left."""
    return after / before if before and after is not None else None
