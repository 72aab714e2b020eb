"""The model card of a pruned checkpoint from the records of a run."""

from collections.abc import Mapping

from avss_core.metrics.right_answers import few_right
from avss_core.surgery.cards import Kept, card_of
from tasks.records import Cost, ModelFigures, RunRecords, Scores, TextFigures


def run_card(records: RunRecords, models: Mapping[str, ModelFigures], *, timed: bool) -> str:
    """Return the card of the pruned checkpoint with all that the run measured of it.

    Args:
        records: the records of the run.
        models: figures of the dense model, the pruned one, and those that were made from it, in this order.
        timed: whether the run measured speed.
    """
    scores, known = records["scores"], records["pruned"]["provenance"]
    chosen = scores["chosen"]
    values = scores["readings"][chosen]["scores"] if known["score"] == chosen else ()
    kept = {name: evaluated(models["dense"], each) for name, each in models.items() if name != "dense"}
    first = kept.pop("pruned")
    return card_of(known["model"], records["pruned"], scores=values, kept=first, later=kept, timed=timed)


def calibration_loss(scores: Scores) -> Kept:
    """Return the loss with and without the removed layers on held-out calibration text."""
    before, after = scores["dense"], scores["readings"][scores["chosen"]]["cost"]
    return _loss("held-out calibration text", before, after)


def evaluated(before: ModelFigures, after: ModelFigures) -> list[Kept]:
    """Return what the evaluation measured of the dense model and of a smaller one."""
    sets = before["sets"]
    questions = [
        _accuracy(
            f"{name}, accuracy (n = {figures['n']}, judge {figures['judge']})",
            sets[name]["accuracy"]["value"],
            figures["accuracy"]["value"],
            told=not few_right(sets[name]["n"], sets[name]["accuracy"]["value"]),
        )
        for name, figures in after["sets"].items()
    ]
    was, now = (side["sentiment"] for side in (before, after))
    sentiment = f"sentiment, accuracy (n = {now['n']})"
    return [
        *questions,
        _accuracy(sentiment, was["accuracy"]["value"], now["accuracy"]["value"]),
        _loss("test text", before["language_modelling"], after["language_modelling"]),
    ]


def _accuracy(task: str, before: float | None, after: float | None, *, told: bool = True) -> Kept:
    """Return two accuracies, and the share kept if it says something."""
    share = after / before if told and before and after is not None else None
    return Kept(task, before, after, share)


def _loss(text: str, before: Cost | TextFigures, after: Cost | TextFigures) -> Kept:
    """Return two losses on a text; the share kept is the first over the second, since lower is better."""
    task = f"{text}, nats a token ({before['tokens']:,} tokens)"
    return Kept(task, before["nll"], after["nll"], before["nll"] / after["nll"])
