"""The models of a run and what each keeps of the dense one, taken from the records of the stages."""

from collections.abc import Iterator, Mapping
from typing import TypedDict, TypeVar

from avss_core.metrics.records import Changes, Entry, KeptOfAnswers, Retention
from avss_core.metrics.right_answers import few_right
from avss_core.training.mitigation.controls import CONTROLS
from tasks.records import (
    Divergence,
    Mitigation,
    MitigationTraining,
    ModelFigures,
    RunRecords,
    SetFigures,
)

Value = TypeVar("Value")

NO_VALUE: Entry = {"value": None, "low": None, "high": None}

MEAN = "mean of the sets"
"""Name of the mean share of accuracy; those of the other figures of answers begin like it."""


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
    """Return the figures of the dense, pruned, repaired, healed and mitigated model; some runs lack two."""
    evaluation, healing = records["evaluation"], records["healing"]
    models = {"dense": evaluation["dense"], "pruned": evaluation["pruned"]}
    if "repaired" in evaluation:
        models["repaired"] = evaluation["repaired"]["figures"]
    if healing["enabled"]:
        models["healed"] = healing["healed"]
    return {**models, "mitigated": records["mitigation"]["mitigated"]}


def ladder(records: RunRecords) -> dict[str, ModelFigures]:
    """Return the figures of the dense model and of what removal, repair and healing made of it in turn."""
    return {name: figures for name, figures in variants(records).items() if name != "mitigated"}


def trained_base(records: RunRecords) -> ModelFigures:
    """Return the figures of the model that the mitigation trained."""
    return variants(records)[records["mitigation"]["base"]]


def kept_tables(records: RunRecords) -> dict[str, Retention]:
    """Return what the pruned model, and the repaired and the healed one if any, keep of the dense one."""
    evaluation = records["evaluation"]
    tables = {"pruned": evaluation["retention"]}
    if "repaired" in evaluation:
        tables["repaired"] = evaluation["repaired"]["retention"]
    if records["healing"]["enabled"]:
        tables["healed"] = records["healing"]["retention"]["after"]
    return tables


def rungs(records: RunRecords) -> dict[str, Retention]:
    """Return what each model that a run made keeps of the dense one: `kept_tables`, then the trained one."""
    trained = records["mitigation"].get("retention")
    return kept_tables(records) | ({} if trained is None else {"mitigated": trained})


def retentions(table: Retention) -> Iterator[tuple[str, Entry]]:
    """Yield the name and the entry of every share kept; one of too few right answers has no value."""
    generation, sentiment = table["generation"], table["classification"]["sentiment"]
    for name, kept in generation["sets"].items():
        yield f"{name}, accuracy", _told(kept)
    yield MEAN, generation["mean"]
    for name, kept in generation["sets"].items():
        if "preference" in kept:
            yield f"{name}, preference", _told(kept["preference"])
    if "preference" in generation:
        yield f"{MEAN}, preference", generation["preference"]
    for name, kept in generation["sets"].items():
        if "gold_nll" in kept:
            yield f"{name}, gold loss", kept["gold_nll"]["retention"]
    if "gold_nll" in generation:
        yield f"{MEAN}, gold loss", generation["gold_nll"]
    yield "sentiment, accuracy", sentiment["retention"]
    yield "sentiment, over chance", sentiment["retention_over_chance"]
    yield "language modelling, NLL", table["language_modelling"]["nll_retention"]


def kept_rows(tables: Mapping[str, Retention]) -> dict[str, dict[str, Entry]]:
    """Return every share kept, by its name in `retentions` and by model; what a model lacks has no value."""
    shares = {model: dict(retentions(table)) for model, table in tables.items()}
    names = dict.fromkeys(name for own in shares.values() for name in own)
    return {name: {model: own.get(name, NO_VALUE) for model, own in shares.items()} for name in names}


def in_brief(name: str) -> bool:
    """Tell whether a share kept stands where there is little room: preference and gold loss only as means."""
    return name.startswith(MEAN) or not name.endswith((", preference", ", gold loss"))


def told_sets(table: Retention) -> list[str]:
    """Return the question sets with enough right answers for a share: those that the mean is of."""
    sets = table["generation"]["sets"]
    return [name for name, kept in sets.items() if not few_right(kept["n"], kept["accuracy_before"])]


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


def _told(kept: KeptOfAnswers) -> Entry:
    """Return a share kept, without a value if there are too few right answers for one."""
    return NO_VALUE if few_right(kept["n"], kept["accuracy_before"]) else kept["retention"]


def _kind(name: str) -> str:
    """Return the control that a training belongs to: random for random_2."""
    return "random" if name.startswith("random_") else name


def _answered(figures: ModelFigures) -> float:
    """Return the share of all questions that got an answer."""
    sets = figures["sets"].values()
    return sum((each["answered"] or 0) * each["n"] for each in sets) / sum(each["n"] for each in sets)
