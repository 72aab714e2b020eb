"""The first screen of the report: the few sentences and numbers that a decision hangs on."""

from collections.abc import Iterator, Mapping
from typing import Any

from tasks.control_wording import in_order
from tasks.wording import (
    NAMES,
    Verdict,
    direction,
    figure_text,
    interval_text,
    listed,
    number,
    retentions,
    share_kept,
    trained_base,
)

CLAIM = 0.9
"""The share of performance that the paper says is left without a quarter of the layers."""

_SHORT = {
    "mean of the sets": "answers, mean",
    "sentiment, accuracy": "sentiment",
    "sentiment, over chance": "\u2026 over chance",
    "language modelling, NLL": "text, nats a token",
}
"""What is kept, by a name that leaves room for numbers; a question set goes by its own."""


def headline(found: Mapping[str, Any]) -> list[Verdict]:
    """Return what a run found in at most six sentences, each following from numbers and their intervals."""
    return [
        _pruned(found),
        *_healed(found["healing"]),
        _choice(found["scores"]),
        _prone(found["localization"]),
        _trained(found["mitigation"], trained_base(found)),
    ]


def glance(found: Mapping[str, Any]) -> dict[str, Any]:
    """Return the table of the first screen.

    Returns:
        columns: their names; rows: of each what is kept, its name, its question set (empty for none), and
        cells with a text and an interval.
    """
    dense = found["evaluation"]["dense"]
    tables = {"pruned keeps": found["evaluation"]["retention"]}
    if found["healing"]["enabled"]:
        tables["healed keeps"] = found["healing"]["retention"]["after"]
    own = {f"{name}, accuracy": ("accuracy", figures["accuracy"]) for name, figures in dense["sets"].items()}
    own["sentiment, accuracy"] = ("accuracy", dense["sentiment"]["accuracy"])
    own["language modelling, NLL"] = ("nll", {"value": dense["language_modelling"]["nll"]})
    rows: list[dict[str, Any]] = []
    for entries in zip(*map(retentions, tables.values()), strict=True):
        name = entries[0][0]
        figure, entry = own.get(name, ("accuracy", None))
        cells = [{"text": figure_text(figure, entry["value"]) if entry else "", "interval": ""}]
        cells += [_cell("accuracy", entry) for _, entry in entries]
        of = name.rpartition(", ")[0]
        rows.append({"name": _SHORT.get(name, of), "set": of if of in dense["sets"] else "", "cells": cells})
    return {"columns": ["dense", *tables], "rows": rows}


def _cell(figure: str, entry: Mapping[str, Any]) -> dict[str, str]:
    """Return a value and its interval as texts."""
    return {"text": figure_text(figure, entry["value"]), "interval": interval_text(figure, entry)}


def _parts(table: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
    """Return what is kept of answers, sentiment and text."""
    kept = dict(retentions(table))
    return {
        "answers": kept["mean of the sets"],
        "sentiment": kept["sentiment, accuracy"],
        "text": kept["language modelling, NLL"],
    }


def _pruned(found: Mapping[str, Any]) -> Verdict:
    """Return what is left without the removed layers."""
    provenance, parts = found["pruned"]["provenance"], _parts(found["evaluation"]["retention"])
    removed = provenance["removed"]
    return Verdict(
        _tone(parts),
        f"Without {len(removed)} of {found['card']['layers']} layers ({listed(removed)}; by "
        f"{provenance['score']}) it keeps {_kept(parts)}. {_against_claim(parts)}",
    )


def _healed(healing: Mapping[str, Any]) -> Iterator[Verdict]:
    """Yield what healing brings that to."""
    if healing["enabled"]:
        parts = _parts(healing["retention"]["after"])
        tokens = healing["training"]["tokens"]
        text = f"Healed on {tokens:,} tokens it keeps {_kept(parts)}. {_against_claim(parts)}"
        yield Verdict(_tone(parts), text)


def _kept(parts: Mapping[str, Mapping[str, Any]]) -> str:
    """Return the shares in a sentence."""
    return ", ".join(f"{name} {share_kept(entry)}" for name, entry in parts.items())


def _tone(parts: Mapping[str, Mapping[str, Any]]) -> str:
    """Return worse where something is surely lost."""
    return "worse" if any(e["high"] is not None and e["high"] < 1 for e in parts.values()) else "same"


def _against_claim(parts: Mapping[str, Mapping[str, Any]]) -> str:
    """Return which parts lie surely above the paper's claim, and which surely below."""
    known = {name: entry for name, entry in parts.items() if entry["low"] is not None}
    above = [name for name, entry in known.items() if entry["low"] > CLAIM]
    below = [name for name, entry in known.items() if entry["high"] < CLAIM]
    rest = [name for name in parts if name not in above and name not in below]
    places = {"surely above": above, "surely below": below, "not certain": rest}
    said = [
        f"{'all' if len(names) == len(parts) else listed(names)} {where}"
        for where, names in places.items()
        if names
    ]
    return f"Against the 90\u00a0% that the paper claims: {'; '.join(said)}."


def _choice(scores: Mapping[str, Any]) -> Verdict:
    """Return how the choice compares with that of every other score, and how sure it is."""
    chosen, readings = scores["chosen"], scores["readings"]
    tones: dict[str, list[str]] = {"better": [], "worse": [], "same": []}
    for name, reading in readings.items():
        if name != chosen:
            over = reading["cost"]["over_chosen"]
            tone = "same" if over["low"] <= 0 <= over["high"] else "better" if over["low"] > 0 else "worse"
            tones[tone].append(name)
    losses = [number(each["nll"]) for each in (scores["dense"], readings[chosen]["cost"])]
    text = f"The choice of {chosen} raises the loss from {losses[0]} to {losses[1]} nats a token."
    if len(readings) > 1:
        text += (
            f" Of {len(readings) - 1} other scores {len(tones['better'])} choose surely worse, "
            f"{len(tones['worse'])} surely better{_named(tones['worse'])}, "
            f"{len(tones['same'])} no different{_named(tones['same'])}."
        )
    stable = scores["stability"].get(chosen)
    if stable:
        text += f" {100 * stable['same']:.0f}\u00a0% of resampled texts choose exactly so"
        text += f"; undecided: layers {listed(stable['undecided'])}." if stable["undecided"] else "."
    return Verdict("worse" if tones["worse"] else "better" if tones["better"] else "same", text)


def _named(names: list[str]) -> str:
    """Return names in brackets, nothing for none."""
    return f" ({listed(names)})" if names else ""


def _prone(localization: Mapping[str, Any]) -> Verdict:
    """Return which layers change most when an answer is wrong, and what the probe says of them."""
    name = localization["reading"]
    reading = localization["readings"][name]
    first = localization["most_prone"][:3]
    probe = localization["agreement"][name]["probe_auroc"]
    sure = ""
    if name == "eavss_contrast":
        certain = sum(low > 0 for low in reading["low"])
        sure = f"; {certain} of {len(reading['low'])} have an interval above zero"
    return Verdict(
        "fact",
        f"Layers most prone to wrong answers, by {name}: {listed(first)}{sure}. A linear probe, the check "
        f"from outside, agrees with Kendall's tau {number(probe, 2)}.",
    )


def _trained(mitigation: Mapping[str, Any], base: Mapping[str, Any]) -> Verdict:
    """Return what training those layers changed, and against which controls."""
    found = [
        direction(figure, entries[figure])
        for entries in mitigation["mitigated_against_base"].values()
        for figure in NAMES
    ]
    better, worse = found.count("better"), found.count("worse")
    texts = [side["language_modelling"]["token_perplexity"] for side in (mitigation["mitigated"], base)]
    against = {
        control: [direction(figure, entries[figure]) for entries in sets.values() for figure in NAMES]
        for control, sets in in_order(mitigation["against_controls"]).items()
    }
    controls = "; ".join(
        f"{control} {tones.count('better')} / {tones.count('worse')}" for control, tones in against.items()
    )
    return Verdict(
        ("better" if better else "worse") if (better > 0) != (worse > 0) else "fact" if better else "same",
        f"Training layers {listed(mitigation['training']['dense_layers'])} of the {mitigation['base']}: "
        f"{better} of {len(found)} answer figures surely better, {worse} surely worse; perplexity on text "
        f"{number(texts[0] / texts[1])} times the one before. "
        + (
            f"Surely better / worse than its controls: {controls}."
            if controls
            else "No control was trained beside it."
        ),
    )
