"""The model card of a pruned checkpoint from the records of a run."""

from collections.abc import Sequence
from pathlib import Path

from avss_core.models.locations import base_model, gguf_file
from avss_core.surgery.cards import Kept, model_card
from tasks.records import Certificate, Cost, Evaluation, RunRecords, Scores, TextFigures


def card_of(
    model: str,
    certificate: Certificate,
    *,
    scores: Sequence[float] = (),
    kept: Sequence[Kept] = (),
    timed: bool = True,
) -> str:
    """Return the card of a checkpoint pruned from a model, given by name, Hub id or folder."""
    base = base_model(model)
    name = model if base else Path(model).name  # a card names no place on this machine
    quantised = gguf_file(model)
    return model_card(name, certificate, base, quantised, scores=scores, kept=kept, timed=timed)


def run_card(records: RunRecords, *, timed: bool) -> str:
    """Return the card of the pruned checkpoint with all that the run measured of it.

    Args:
        records: the records of the run.
        timed: whether the run measured speed.
    """
    scores, known = records["scores"], records["pruned"]["provenance"]
    chosen = scores["chosen"]
    values = scores["readings"][chosen]["scores"] if known["score"] == chosen else ()
    kept = evaluated(records["evaluation"])
    return card_of(known["model"], records["pruned"], scores=values, kept=kept, timed=timed)


def calibration_loss(scores: Scores) -> Kept:
    """Return the loss with and without the removed layers on held-out calibration text."""
    before, after = scores["dense"], scores["readings"][scores["chosen"]]["cost"]
    return _loss("held-out calibration text", before, after)


def evaluated(evaluation: Evaluation) -> list[Kept]:
    """Return what the evaluation measured of the dense and the pruned model."""
    before, after = evaluation["dense"], evaluation["pruned"]
    changes = evaluation["pruned_against_dense"]
    questions = [
        Kept(
            f"{name}, accuracy (n = {figures['n']}, judge {figures['judge']})",
            before["sets"][name]["accuracy"]["value"],
            figures["accuracy"]["value"],
            changes[name]["retention"],
        )
        for name, figures in after["sets"].items()
    ]
    was, now = before["sentiment"]["accuracy"]["value"], after["sentiment"]["accuracy"]["value"]
    share = now / was if was and now is not None else None
    sentiment = Kept(f"sentiment, accuracy (n = {after['sentiment']['n']})", was, now, share)
    return [
        *questions,
        sentiment,
        _loss("test text", before["language_modelling"], after["language_modelling"]),
    ]


def _loss(text: str, before: Cost | TextFigures, after: Cost | TextFigures) -> Kept:
    """Return two losses on a text; the share kept is the first over the second, since lower is better."""
    task = f"{text}, nats a token ({before['tokens']:,} tokens)"
    return Kept(task, before["nll"], after["nll"], before["nll"] / after["nll"])
