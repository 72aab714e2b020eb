"""Compare what two runs chose: layers by score, most prone layers, and trained layers."""

from collections.abc import Sequence
from dataclasses import asdict

from avss_core.metrics.agreement import overlap
from avss_core.scores.ranking import kendall_tau
from tasks.compare.measures import Found, Sides, compared, losses, text_reasons


def choice(sides: Sides) -> Found:
    """Return the layers that the pruned models lost."""
    removed = [side["choice"]["removed"] for side in sides]
    return {
        "score": [side["choice"]["score"] for side in sides],
        "layers": [side["model"]["layers"] for side in sides],
        "removed": removed,
        **shared_layers(*removed),
    }


def readings(sides: Sides, seed: int) -> Found:
    """Return what each score that both runs know removes and costs; `chosen` is each run's own choice."""
    one, other = (side["scores"]["readings"] for side in sides)
    reasons = text_reasons(sides, "calibration", [side["scores"]["dense"] for side in sides])
    found = {}
    for name in (name for name in one if name in other):
        scores = [reading["scores"] for reading in (one[name], other[name])]
        found[name] = {
            "scores": scores,
            "removed": [one[name]["removed"], other[name]["removed"]],
            **shared_layers(one[name]["removed"], other[name]["removed"]),
            "tau": kendall_tau(scores[0], scores[1]) if same_depth(sides) else None,
            "cost": losses(one[name]["cost"], other[name]["cost"], reasons, seed),
            "same_choice": [side["scores"]["same"].get(name) for side in sides],
        }
    dense = losses(sides[0]["scores"]["dense"], sides[1]["scores"]["dense"], reasons, seed)
    chosen = [side["scores"]["readings"].get(side["choice"]["score"]) for side in sides]
    return {
        "reasons": reasons,
        "dense": dense,
        "chosen": losses(chosen[0]["cost"], chosen[1]["cost"], reasons, seed) if all(chosen) else None,
        "scores": found,
    }


def eavss(sides: Sides) -> Found:
    """Return which layers are most prone, and how the ranks by each reading agree."""
    one, other = (side["eavss"] for side in sides)
    count = max(len(side["mitigation"]["dense_layers"]) for side in sides)
    first, second = (each["most_prone"][:count] for each in (one, other))
    return {
        "reading": [one["reading"], other["reading"]],
        "pairs": [one["pairs"], other["pairs"]],
        "questions": [one["questions"], other["questions"]],
        "most_prone": [first, second],
        **shared_layers(first, second),
        "values": {
            name: [each["readings"][name]["values"] for each in (one, other)]
            for name in one["readings"]
            if name in other["readings"]
        },
        "tau": {
            name: kendall_tau(one["readings"][name]["values"], other["readings"][name]["values"])
            if same_depth(sides)
            else None
            for name in one["readings"]
            if name in other["readings"]
        },
    }


def mitigation(sides: Sides) -> Found:
    """Return what was trained on what."""
    one, other = (side["mitigation"] for side in sides)
    keys = ("base", "rank", "parameters", "train_pairs", "best_loss", "controls")
    return {
        **{key: [one[key], other[key]] for key in keys},
        "layers": [one["dense_layers"], other["dense_layers"]],
        **shared_layers(one["dense_layers"], other["dense_layers"]),
        "divergence": compared(one["divergence"], other["divergence"], lower=True),
    }


def shared_layers(first: Sequence[int], second: Sequence[int]) -> Found:
    """Return what two choices of layers share."""
    found = overlap(first, second)
    return {**asdict(found), "jaccard": found.jaccard}


def same_depth(sides: Sides) -> bool:
    """Tell whether layer numbers mean the same in both runs."""
    return bool(sides[0]["model"]["layers"] == sides[1]["model"]["layers"])
