"""The first screen of the report: the few sentences and numbers that a decision hangs on."""

from collections.abc import Iterator, Mapping
from typing import Any

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
        columns: their names; rows: of each what is kept, its name, its question set (empty for none), and cells
        with a text and an interval.
    """
    dense = found["evaluation"]["dense"]
    tables = {"pruned keeps": found["evaluation"]["retention"]}
    if found["healing"]["enabled"]:
        tables["healed keeps"] = found["healing"]["retention"]["after"]
    own = {f"{name}, accuracy": ("accuracy", figures["accuracy"]) for name, figures in dense["sets"].items()}
    own["sentiment, accuracy"] = ("accuracy", dense["sentiment"]["accuracy"])
    text = dense["language_modelling"]
    own["language modelling, NLL"] = ("nll", {**text["window_mean"], "value": text["nll"]})
    rows = []
    for entries in zip(*map(retentions, tables.values()), strict=True):
        name = entries[0][0]
        cells = [_cell(*own[name]) if name in own else {"text": "", "interval": ""}]
        cells += [_cell("accuracy", entry) for _, entry in entries]
        of = name.rpartition(", ")[0]
        rows.append({"name": name, "set": of if of in dense["sets"] else "", "cells": cells})
    return {"columns": ["dense", *tables], "rows": rows}


def _cell(figure: str, entry: Mapping[str, Any]) -> dict[str, str]:
    """Return a value and its interval as texts."""
    return {"text": figure_text(figure, entry["value"]), "interval": interval_text(figure, entry)}


def _parts(table: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
    """Return what is kept of answers, sentiment and text."""
    kept = dict(retentions(table))
    return {
        "answer accuracy": kept["mean of the sets"],
        "sentiment accuracy": kept["sentiment, accuracy"],
        "the loss on text": kept["language modelling, NLL"],
    }


def _pruned(found: Mapping[str, Any]) -> Verdict:
    """Return what is left without the removed layers."""
    provenance, parts = found["pruned"]["provenance"], _parts(found["evaluation"]["retention"])
    removed = provenance["removed"]
    return Verdict(
        _tone(parts),
        f"Without {len(removed)} of {found['card']['layers']} layers ({listed(removed)}; by "
        f"{provenance['score']}) the model keeps {_kept(parts)}. {_against_claim(parts)}",
    )


def _healed(healing: Mapping[str, Any]) -> Iterator[Verdict]:
    """Yield what healing brings that to."""
    if healing["enabled"]:
        parts = _parts(healing["retention"]["after"])
        tokens = healing["training"]["tokens"]
        text = f"Healing on {tokens:,} tokens brings that to {_kept(parts)}. {_against_claim(parts)}"
        yield Verdict(_tone(parts), text)


def _kept(parts: Mapping[str, Mapping[str, Any]]) -> str:
    """Return the shares in a sentence."""
    texts = [f"{share_kept(entry)} of {name}" for name, entry in parts.items()]
    return f"{', '.join(texts[:-1])} and {texts[-1]}"


def _tone(parts: Mapping[str, Mapping[str, Any]]) -> str:
    """Return worse where something is surely lost."""
    return "worse" if any(e["high"] is not None and e["high"] < 1 for e in parts.values()) else "same"


def _against_claim(parts: Mapping[str, Mapping[str, Any]]) -> str:
    """Return which parts lie surely above the paper's claim, and which surely below."""
    known = {name: entry for name, entry in parts.items() if entry["low"] is not None}
    above = [name for name, entry in known.items() if entry["low"] > CLAIM]
    below = [name for name, entry in known.items() if entry["high"] < CLAIM]
    rest = [name for name in parts if name not in above and name not in below]
    places = {"surely above": above, "surely below": below, "undecided": rest}
    said = "; ".join(f"{where}: {listed(names)}" for where, names in places.items() if names)
    return f"Against {figure_text('accuracy', CLAIM).replace('.0', '')}, {said}."


def _choice(scores: Mapping[str, Any]) -> Verdict:
    """Return how the choice compares with that of every other score, and how sure it is."""
    chosen, readings = scores["chosen"], scores["readings"]
    tones: dict[str, list[str]] = {"worse": [], "better": [], "same": []}
    for name, reading in readings.items():
        if name != chosen:
            over = reading["cost"]["over_chosen"]
            tone = "same" if over["low"] <= 0 <= over["high"] else "better" if over["low"] > 0 else "worse"
            tones[tone].append(name)
    words = {"better": "better than", "same": "no different from", "worse": "worse than"}
    said = "; ".join(f"{words[tone]} {listed(tones[tone])}" for tone in words if tones[tone])
    text = f"The choice of {chosen} costs {number(readings[chosen]['cost']['nll'])} nats per token"
    text += f": {said}." if said else "."
    stable = scores["stability"].get(chosen)
    if stable:
        text += f" {100 * stable['same']:.0f}\u00a0% of resampled texts give exactly this choice"
        text += f"; undecided: layers {listed(stable['undecided'])}." if stable["undecided"] else "."
    tone = "worse" if tones["worse"] else "better" if tones["better"] else "same"
    return Verdict(tone, text)


def _prone(localization: Mapping[str, Any]) -> Verdict:
    """Return which layers change most when an answer is wrong, and what the probe says of them."""
    name = localization["reading"]
    reading = localization["readings"][name]
    first = localization["most_prone"][:3]
    probe = localization["agreement"][name]["probe_auroc"]
    sure = ""
    if name == "eavss_contrast":
        certain = sum(low > 0 for low in reading["low"])
        sure = f"; {certain} of {len(reading['low'])} layers are certain to be (interval above zero)"
    return Verdict(
        "fact",
        f"Most prone to wrong answers by {name}: layers {listed(first)}{sure}. "
        f"A probe from outside ranks the layers with Kendall's tau {number(probe, 2)} to that.",
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
        for control, sets in mitigation["against_controls"].items()
    }
    controls = ", ".join(
        f"{control} {tones.count('better')} better and {tones.count('worse')} worse of {len(tones)}"
        for control, tones in against.items()
    )
    return Verdict(
        ("better" if better else "worse") if (better > 0) != (worse > 0) else "fact" if better else "same",
        f"Training layers {listed(mitigation['training']['dense_layers'])} of the {mitigation['base']} model "
        f"makes {better} of {len(found)} answer figures better and {worse} worse beyond their intervals; "
        f"perplexity on text is {number(texts[0] / texts[1])} times what it was. "
        + (f"Against its controls: {controls}." if controls else "No control was trained beside it."),
    )
