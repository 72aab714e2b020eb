"""Compare two runs: what differs between them, and what that changed in each of their figures."""

from collections.abc import Mapping
from typing import Any

from tasks.compare.answered import RunAnswers
from tasks.compare.choices import choice, eavss, mitigation, readings
from tasks.compare.finding import Run
from tasks.compare.measures import Found
from tasks.compare.models import model, retention


def compare_runs(first: Run, second: Run, seed: int) -> Found:
    """Return what differs between two runs, A and B, and all figures side by side; a change is B minus A.

    Each compared figure has a and b (value, low, high), change (value, and low and high where it is paired),
    paired (on how many shared questions, reviews or windows; None where the intervals of both stand alone)
    and tone: better or worse (B, beyond the interval), same, or void where the two cannot be compared.

    Args:
        first: run A.
        second: run B.
        seed: of the resampling.
    """
    sides = (first.record, second.record)
    answers = (RunAnswers(first.data), RunAnswers(second.data))
    variants = [name for name in sides[0]["models"] if name in sides[1]["models"]]
    models = {name: model(sides, answers, name, seed) for name in variants}
    return {
        "runs": {
            key: {"name": run.name, "kind": run.kind} for key, run in zip("ab", (first, second), strict=True)
        },
        "differs": differences(*sides),
        "unrecorded": unrecorded(*sides),
        "only": {
            "models": _only(sides[0]["models"], sides[1]["models"]),
            "sets": _only(*(side["models"]["dense"]["sets"] for side in sides)),
            "scores": _only(*(side["scores"]["readings"] for side in sides)),
        },
        "choice": choice(sides),
        "readings": readings(sides, seed),
        "models": models,
        "retention": retention(sides, models),
        "eavss": eavss(sides),
        "mitigation": mitigation(sides),
        "sizes": {
            name: {figure: [side["sizes"][name].get(figure) for side in sides] for figure in sizes}
            for name, sizes in sides[0]["sizes"].items()
            if name in sides[1]["sizes"]
        },
    }


def differences(first: Mapping[str, Any], second: Mapping[str, Any]) -> dict[str, dict[str, list[Any]]]:
    """Return what two runs were made of and with: by kind, each name whose values differ, with both of them.

    Kinds are model, data, versions and parameters. None stands for what a run has not; a kind that one of the
    runs did not record differs in nothing, see `unrecorded`.
    """
    found = {
        "model": _unlike(first["model"], second["model"]),
        "data": _unlike(*({"digest": side["data"]["digest"], **_origins(side)} for side in (first, second))),
        "versions": {},
        "parameters": {},
    }
    parts = _unlike(*({name: part["digest"] for name, part in side["data"]["parts"].items()}
                      for side in (first, second)))  # fmt: skip
    found["data"] |= {
        name: [_part(side["data"]["parts"].get(name)) for side in (first, second)] for name in parts
    }
    missing = unrecorded(first, second)
    if "versions" not in missing:
        both = [name for name in first["versions"] if name in second["versions"]]
        found["versions"] = _unlike(
            *({name: side["versions"][name] for name in both} for side in (first, second))
        )
    if "parameters" not in missing:
        found["parameters"] = _unlike(first["parameters"], second["parameters"])
    return found


def unrecorded(first: Mapping[str, Any], second: Mapping[str, Any]) -> list[str]:
    """Return the kinds of `differences` that cannot be told, because a run did not record them."""
    versions = set(first.get("versions", {})) & set(second.get("versions", {}))
    known = {"versions": versions, "parameters": first["parameters"] and second["parameters"]}
    return [kind for kind, both in known.items() if not both]


def _unlike(first: Mapping[str, Any], second: Mapping[str, Any]) -> dict[str, list[Any]]:
    """Return each name whose values differ, with both of them."""
    return {
        name: [first.get(name), second.get(name)]
        for name in dict.fromkeys([*first, *second])
        if first.get(name) != second.get(name)
    }


def _origins(side: Mapping[str, Any]) -> dict[str, str]:
    """Return where the kinds of rows come from."""
    return {f"origin of {name}": origin for name, origin in side["data"]["origin"].items()}


def _part(part: Mapping[str, Any] | None) -> str | None:
    """Return a part of the data as a table shows it."""
    return None if part is None else f"{part['digest'][:12]}, {part['count']} rows"


def _only(first: Mapping[str, Any], second: Mapping[str, Any]) -> dict[str, list[str]]:
    """Return what only one of the runs has."""
    return {
        "a": [name for name in first if name not in second],
        "b": [name for name in second if name not in first],
    }
