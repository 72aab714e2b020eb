"""The first screen of the report: the few sentences and numbers that a decision hangs on."""

from collections.abc import Iterator, Mapping
from typing import Any

from tasks.report.words.evidence import few_kept
from tasks.report.words.training_wording import prone, trained
from tasks.report.words.wording import (
    Verdict,
    figure_text,
    interval_text,
    listed,
    number,
    retentions,
    sentence,
    share_kept,
    trained_base,
)

CLAIM = 0.9
"""The share of performance that the paper says is left without a quarter of the layers."""

_OPEN = "· unsure"
WORDS = {"better": "▲ better", "worse": "▼ worse", "same": _OPEN, "unsure": _OPEN, "fact": "· found"}
"""What stands before a sentence of the first screen, by its tone."""

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
        prone(found["localization"]),
        trained(found["mitigation"], trained_base(found)),
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
        cells += [
            {"text": figure_text("accuracy", entry["value"]), "interval": interval}
            for (_, entry), table in zip(entries, tables.values(), strict=True)
            for interval in [few_kept(table).get(name) or interval_text("accuracy", entry)]
        ]
        of = name.rpartition(", ")[0]
        rows.append({"name": _SHORT.get(name, of), "set": of if of in dense["sets"] else "", "cells": cells})
    return {"columns": ["dense", *tables], "rows": rows}


_PARTS = {
    "answers": "mean of the sets",
    "sentiment": "sentiment, accuracy",
    "text": "language modelling, NLL",
}
"""What the first screen speaks of, by the names in `retentions`."""


def _parts(table: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
    """Return what is kept of answers, sentiment and text; not those of too few questions."""
    kept, unsaid = dict(retentions(table)), few_kept(table)
    return {part: kept[name] for part, name in _PARTS.items() if name not in unsaid}


def _pruned(found: Mapping[str, Any]) -> Verdict:
    """Return what is left without the removed layers."""
    provenance, table = found["pruned"]["provenance"], found["evaluation"]["retention"]
    removed = provenance["removed"]
    return Verdict(
        _tone(_parts(table)),
        f"Without {len(removed)} of {found['card']['layers']} layers ({listed(removed)}; by "
        f"{provenance['score']}) it keeps {_kept(table)}",
    )


def _healed(healing: Mapping[str, Any]) -> Iterator[Verdict]:
    """Yield what healing brings that to."""
    if healing["enabled"]:
        table = healing["retention"]["after"]
        text = f"Healed on {healing['training']['tokens']:,} tokens it keeps {_kept(table)}"
        yield Verdict(_tone(_parts(table)), text)


def _kept(table: Mapping[str, Any]) -> str:
    """Return the shares, how they stand to the claim, and what there are too few questions for."""
    parts, unsaid = _parts(table), few_kept(table)
    shares = {name: share_kept(entry) for name, entry in parts.items()}
    ratio = table["language_modelling"]["perplexity_ratio"]["value"]
    shares["text"] += f" (a ratio of losses; perplexity {number(ratio, 2)} times)"
    rest = "".join(f" {sentence(part)}: {unsaid[name]}." for part, name in _PARTS.items() if name in unsaid)
    kept = ", ".join(f"{name} {share}" for name, share in shares.items())
    return f"{kept}. {_against_claim(parts)}{rest}"


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
        f"{'all' if len(names) == len(_PARTS) else listed(names)} {where}"
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
    before, after = (each["nll"] for each in (scores["dense"], readings[chosen]["cost"]))
    changes = (
        f"{'raises' if after > before else 'lowers'} the loss from {number(before)} to {number(after)} "
        "nats a token"
    )
    text = f"The choice of {chosen} {changes}."
    if len(readings) > 1:
        text = (
            f"The choice of {chosen} is cheaper than {len(tones['better'])} of {len(readings) - 1} other "
            f"choices, dearer than {len(tones['worse'])}{_named(tones['worse'])}, no different from "
            f"{len(tones['same'])}{_named(tones['same'])}. It {changes}."
        )
    stable = scores["stability"].get(chosen)
    if stable:
        text += f" {100 * stable['same']:.0f}\u00a0% of resampled texts choose exactly so"
        text += f"; undecided: layers {listed(stable['undecided'])}." if stable["undecided"] else "."
    return Verdict("worse" if tones["worse"] else "better" if tones["better"] else "same", text)


def _named(names: list[str]) -> str:
    """Return names in brackets, nothing for none."""
    return f" ({listed(names)})" if names else ""
