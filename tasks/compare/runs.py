"""Compare two runs: what differs between them, and what that changed in each of their figures."""

from collections.abc import Sequence
from typing import Any

from avss_core.metrics.agreement import overlap
from avss_core.scores.ranking import kendall_tau
from tasks.compare.comparison import (
    Choice,
    ComparedEavss,
    ComparedMitigation,
    Comparison,
    Readings,
    SharedLayers,
)
from tasks.compare.finding import Run, RunAnswers
from tasks.compare.measures import (
    Record,
    Sides,
    compare_losses,
    compare_model,
    compare_retention,
    compared,
    text_reasons,
)


def compare_runs(first: Run, second: Run, seed: int) -> Comparison:
    """Return what differs between two runs, A and B, and all figures side by side.

    Args:
        first: run A.
        second: run B.
        seed: of the resampling.
    """
    sides = (first.record, second.record)
    answers = (RunAnswers(first.data), RunAnswers(second.data))
    variants = _both(*(side["models"] for side in sides))
    models = {name: compare_model(sides, answers, name, seed) for name in variants}
    return {
        "runs": {
            key: {"name": run.name, "kind": run.kind} for key, run in zip("ab", (first, second), strict=True)
        },
        "differs": differences(*sides),
        "unrecorded": unrecorded(*sides),
        "only": {
            "models": _only(*(side["models"] for side in sides)),
            "sets": _only(*(side["models"]["dense"]["sets"] for side in sides)),
            "scores": _only(*(side["scores"]["readings"] for side in sides)),
        },
        "choice": _compare_choice(sides),
        "readings": _compare_readings(sides, seed),
        "models": models,
        "retention": compare_retention(sides, models),
        "eavss": _compare_eavss(sides),
        "mitigation": _compare_mitigation(sides),
        "sizes": {
            name: {figure: [side["sizes"][name].get(figure) for side in sides] for figure in sizes}
            for name, sizes in sides[0]["sizes"].items()
            if name in sides[1]["sizes"]
        },
    }


def differences(first: Record, second: Record) -> dict[str, dict[str, list[Any]]]:
    """Return what two runs were made of and with: by kind, each name whose values differ, with both of them.

    Kinds are model, data, versions and parameters; one that a run did not record (see `unrecorded`) is empty.
    """
    sides, missing = (first, second), unrecorded(first, second)
    parts = [side["data"]["parts"] for side in sides]
    changed = _unlike(*({name: part["digest"] for name, part in each.items()} for each in parts))
    sources = [
        {"digest": data["digest"], **{f"origin of {kind}": origin for kind, origin in data["origin"].items()}}
        for data in (side["data"] for side in sides)
    ]
    installed = [] if "versions" in missing else _both(first["versions"], second["versions"])
    return {
        "model": _unlike(first["model"], second["model"]),
        "data": {
            **_unlike(*sources),
            **{name: [_part_text(each.get(name)) for each in parts] for name in changed},
        },
        "versions": _unlike(*({name: side["versions"][name] for name in installed} for side in sides)),
        "parameters": {} if "parameters" in missing else _unlike(first["parameters"], second["parameters"]),
    }


def unrecorded(first: Record, second: Record) -> list[str]:
    """Return the kinds of `differences` that are unknown because a run did not record them."""
    known = {
        "versions": _both(first.get("versions", {}), second.get("versions", {})),
        "parameters": first["parameters"] and second["parameters"],
    }
    return [kind for kind, both in known.items() if not both]


def _compare_choice(sides: Sides) -> Choice:
    """Return the layers that the pruned models lost."""
    removed = [side["choice"]["removed"] for side in sides]
    return {
        "score": [side["choice"]["score"] for side in sides],
        "layers": [side["model"]["layers"] for side in sides],
        "removed": removed,
        **_shared_layers(*removed),
    }


def _compare_readings(sides: Sides, seed: int) -> Readings:
    """Return what each score that both runs know removes and costs."""
    one, other = (side["scores"]["readings"] for side in sides)
    dense = [side["scores"]["dense"] for side in sides]
    reasons = text_reasons(sides, "calibration", dense)
    a, b = (side["scores"]["readings"].get(side["choice"]["score"]) for side in sides)
    return {
        "reasons": reasons,
        "dense": compare_losses(dense[0], dense[1], reasons, seed),
        "chosen": compare_losses(a["cost"], b["cost"], reasons, seed) if a and b else None,
        "scores": {
            name: {
                "scores": [one[name]["scores"], other[name]["scores"]],
                "removed": [one[name]["removed"], other[name]["removed"]],
                **_shared_layers(one[name]["removed"], other[name]["removed"]),
                "tau": _tau(sides, one[name]["scores"], other[name]["scores"]),
                "cost": compare_losses(one[name]["cost"], other[name]["cost"], reasons, seed),
                "same_choice": [side["scores"]["same"].get(name) for side in sides],
            }
            for name in _both(one, other)
        },
    }


def _compare_eavss(sides: Sides) -> ComparedEavss:
    """Return which layers are most prone, and how the ranks by each reading agree."""
    records = [side["eavss"] for side in sides]
    count = max(len(side["mitigation"]["dense_layers"]) for side in sides)
    prone = [each["most_prone"][:count] for each in records]
    values = {
        name: [each["readings"][name]["values"] for each in records]
        for name in _both(*(each["readings"] for each in records))
    }
    return {
        "reading": [each["reading"] for each in records],
        "pairs": [each["pairs"] for each in records],
        "questions": [each["questions"] for each in records],
        "most_prone": prone,
        **_shared_layers(*prone),
        "values": values,
        "tau": {name: _tau(sides, *both) for name, both in values.items()},
    }


def _compare_mitigation(sides: Sides) -> ComparedMitigation:
    """Return what was trained on what."""
    one, other = (side["mitigation"] for side in sides)
    return {
        "base": [one["base"], other["base"]],
        "rank": [one["rank"], other["rank"]],
        "parameters": [one["parameters"], other["parameters"]],
        "train_pairs": [one["train_pairs"], other["train_pairs"]],
        "best_loss": [one["best_loss"], other["best_loss"]],
        "controls": [one["controls"], other["controls"]],
        "layers": [one["dense_layers"], other["dense_layers"]],
        **_shared_layers(one["dense_layers"], other["dense_layers"]),
        "divergence": compared("nll", one["divergence"], other["divergence"]),
    }


def _shared_layers(first: Sequence[int], second: Sequence[int]) -> SharedLayers:
    """Return what two choices of layers share."""
    both = overlap(first, second)
    return {
        "shared": both.shared,
        "only_first": both.only_first,
        "only_second": both.only_second,
        "jaccard": both.jaccard,
    }


def _tau(sides: Sides, first: Sequence[float], second: Sequence[float]) -> float | None:
    """Return Kendall's tau of two scores of the layers, None for models of different depth."""
    return kendall_tau(first, second) if sides[0]["model"]["layers"] == sides[1]["model"]["layers"] else None


def _unlike(first: Record, second: Record) -> dict[str, list[Any]]:
    """Return each name whose values differ, with both of them."""
    return {
        name: [first.get(name), second.get(name)]
        for name in dict.fromkeys([*first, *second])
        if first.get(name) != second.get(name)
    }


def _both(first: Record, second: Record) -> list[str]:
    """Return what both runs have, in the order of the first."""
    return [name for name in first if name in second]


def _only(first: Record, second: Record) -> dict[str, list[str]]:
    """Return what only one of the runs has."""
    return {
        "a": [name for name in first if name not in second],
        "b": [name for name in second if name not in first],
    }


def _part_text(part: Record | None) -> str | None:
    """Return a part of the data as a table shows it."""
    return None if part is None else f"{part['digest'][:12]}, {part['count']} rows"
