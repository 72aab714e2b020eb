"""The models of a run and what each keeps of the dense one, taken from the records of the stages."""

from collections.abc import Iterator, Mapping
from typing import TypedDict, TypeVar

from avss_core.metrics.records import Changes, Entry, Retention
from avss_core.training.controls import CONTROLS
from tasks.records import (
    Divergence,
    Mitigation,
    MitigationTraining,
    ModelFigures,
    RunRecords,
    SetFigures,
)

Value = TypeVar("Value")


class Training(TypedDict):
    """The mitigation or one of its controls."""

    what: str
    """What it trains."""
    training: MitigationTraining
    figures: ModelFigures
    against_base: dict[str, Changes]
    divergence: Divergence
    answered: float
    """Share of all questions that got an answer."""


def variants(records: RunRecords) -> dict[str, ModelFigures]:
    """Return the figures of the dense, the pruned, the healed (if healing ran) and the mitigated model."""
    evaluation, healing = records["evaluation"], records["healing"]
    models = {"dense": evaluation["dense"], "pruned": evaluation["pruned"]}
    if healing["enabled"]:
        models["healed"] = healing["healed"]
    return {**models, "mitigated": records["mitigation"]["mitigated"]}


def trained_base(records: RunRecords) -> ModelFigures:
    """Return the figures of the model that the mitigation trained."""
    return variants(records)[records["mitigation"]["base"]]


def kept_tables(records: RunRecords) -> dict[str, Retention]:
    """Return what the pruned and, if healing ran, the healed model keep of the dense one."""
    tables = {"pruned": records["evaluation"]["retention"]}
    if records["healing"]["enabled"]:
        tables["healed"] = records["healing"]["retention"]["after"]
    return tables


def retentions(table: Retention) -> Iterator[tuple[str, Entry]]:
    """Yield the name and the entry of every share kept."""
    generation, sentiment = table["generation"], table["classification"]["sentiment"]
    for name, kept in generation["sets"].items():
        yield f"{name}, accuracy", kept["retention"]
    yield "mean of the sets", generation["mean"]
    yield "sentiment, accuracy", sentiment["retention"]
    yield "sentiment, over chance", sentiment["retention_over_chance"]
    yield "language modelling, NLL", table["language_modelling"]["nll_retention"]


def set_of(name: str) -> str:
    """Return the question set of a name in `retentions`: nq for `nq, accuracy`."""
    return name.rpartition(", ")[0]


def ends(entry: Entry) -> Entry:
    """Return the value of an entry and the ends of its interval alone."""
    return {"value": entry["value"], "low": entry["low"], "high": entry["high"]}


def trainings(mitigation: Mitigation) -> dict[str, Training]:
    """Return the mitigation and its controls by name, in one form."""
    own: Training = {
        "what": "the most prone layers",
        "training": mitigation["training"],
        "figures": mitigation["mitigated"],
        "against_base": mitigation["mitigated_against_base"],
        "divergence": mitigation["divergence"],
        "answered": _answered(mitigation["mitigated"]),
    }
    controls: dict[str, Training] = {
        name: {**control, "what": CONTROLS[_kind(name)], "answered": _answered(control["figures"])}
        for name, control in in_order(mitigation["controls"]).items()
    }
    return {"mitigated": own, **controls}


def in_order(controls: Mapping[str, Value]) -> dict[str, Value]:
    """Return records by control in the order of `CONTROLS`; in a file they are in alphabetical order."""
    places = list(CONTROLS)
    return dict(sorted(controls.items(), key=lambda item: (places.index(_kind(item[0])), item[0])))


def control_sides(mitigation: Mitigation, control: str, name: str) -> list[SetFigures]:
    """Return the figures on a question set of the mitigated model and of each draw of a control."""
    others = [each["figures"] for key, each in mitigation["controls"].items() if _kind(key) == control]
    return [figures["sets"][name] for figures in (mitigation["mitigated"], *others)]


def _kind(name: str) -> str:
    """Return the control that a training belongs to: random for random_2."""
    return "random" if name.startswith("random_") else name


def _answered(figures: ModelFigures) -> float:
    """Return the share of all questions that got an answer."""
    sets = figures["sets"].values()
    return sum((each["answered"] or 0) * each["n"] for each in sets) / sum(each["n"] for each in sets)
