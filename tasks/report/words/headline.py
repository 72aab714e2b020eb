"""The first screen of the report: the few findings that a decision rests on."""

from collections.abc import Iterator, Mapping

from avss_core.metrics.records import Entry, Retention
from avss_core.scores.stability import too_little
from tasks.records import Localization, Mitigation, ModelFigures, RunRecords, Scores
from tasks.report.variants import (
    MEAN,
    control_sides,
    in_order,
    kept_tables,
    retentions,
    told_sets,
    trained_base,
)
from tasks.report.words.evidence import TOO_FEW, certain, direction, few, few_kept, overall, set_sides
from tasks.report.words.findings import repair_text, unmoved
from tasks.report.words.wording import (
    SPACE,
    Verdict,
    counted,
    joined,
    layers_text,
    listed,
    moved,
    number,
    sentence,
    share_kept,
)

CLAIM = 0.9
"""The share of performance that the paper says is left without a quarter of the layers."""

_TEXT = "language modelling, NLL"
_PARTS = {MEAN: "questions", "sentiment, accuracy": "sentiment", _TEXT: "text"}
"""The shares kept that the first screen speaks of, by the names in `variants.retentions`."""


def headline(records: RunRecords) -> list[Verdict]:
    """Return what a run found in at most seven sentences, each following from numbers and their intervals."""
    return [
        *_kept(records),
        _choice(records["scores"]),
        prone(records["localization"]),
        trained(records["mitigation"], trained_base(records)),
    ]


def _kept(records: RunRecords) -> Iterator[Verdict]:
    """Yield what the pruned model, and the repaired and the healed one if any, keep of the dense one."""
    provenance, tables = records["pruned"]["provenance"], kept_tables(records)
    removed, depth = provenance["removed"], records["card"]["layers"]
    choice = f"{listed(removed)}; chosen by {provenance['score']}"
    start = {"pruned": f"Without {len(removed)} of {depth} layers ({choice})"}
    if "repaired" in tables:
        start["repaired"] = f"After {repair_text(records['repair'])}"
    if "healed" in tables:
        start["healed"] = f"After healing on {records['healing']['training']['tokens']:,} tokens"
    for name, table in tables.items():
        unsaid = few_kept(table)
        unsaid |= {each: "nothing to keep" for each, entry in retentions(table) if entry["value"] is None}
        shares = {each: entry for each, entry in retentions(table) if each in _PARTS and each not in unsaid}
        lost = any(entry["high"] is not None and entry["high"] < 1 for entry in shares.values())
        rest = [f"{sentence(_PARTS[each])}: {unsaid[each]}." for each in _PARTS if each in unsaid]
        if name == "pruned":
            rest += _left_out(table)
        yield Verdict(
            "worse" if lost else "same",
            " ".join([f"{start[name]} the model keeps {_shares(shares, table)}.", _claims(shares), *rest]),
        )


def _shares(shares: Mapping[str, Entry], table: Retention) -> str:
    """Return the shares kept as a list in a sentence."""
    ratio = number(table["language_modelling"]["perplexity_ratio"]["value"], 2)
    about = {name: f"of its accuracy on {part}" for name, part in _PARTS.items()}
    told = told_sets(table)
    if len(told) < len(table["generation"]["sets"]):
        about[MEAN] += f" ({'mean of ' if len(told) > 1 else ''}{joined(told)})"
    about[_TEXT] = f"on text (dense loss over its own; perplexity is {ratio} times as high)"
    return joined(f"{share_kept(entry)} {about[name]}" for name, entry in shares.items())


def _left_out(table: Retention) -> list[str]:
    """Return which question sets have too few right answers for a share, if some have enough."""
    told, sets = told_sets(table), table["generation"]["sets"]
    few = [f"{kept['n'] * kept['accuracy_before']:.0f} of {kept['n']} on {name}"
           for name, kept in sets.items() if name not in told]  # fmt: skip
    return [f"The dense model answers {joined(few)}: too few for a share."] if few and told else []


def against_claim(entry: Entry) -> str:
    """Return whether a share kept lies below or above the paper's claim with its whole interval."""
    if entry["high"] is not None and entry["high"] < CLAIM:
        return "below"
    return "above" if entry["low"] is not None and entry["low"] > CLAIM else "not certain"


def _claims(shares: Mapping[str, Entry]) -> str:
    """Return which shares lie below the paper's claim and which above."""
    places: dict[str, list[str]] = {"below": [], "above": [], "not certain": []}
    for name, entry in shares.items():
        places[against_claim(entry)].append(_PARTS[name])
    said = "; ".join(f"{joined(names)} {place}" for place, names in places.items() if names)
    return f"Against the {100 * CLAIM:.0f}{SPACE}% that the paper claims: {said}."


def _choice(scores: Scores) -> Verdict:
    """Return what the choice costs, how that compares with every other score, and how sure it is."""
    chosen, readings = scores["chosen"], scores["readings"]
    change = moved("nll", scores["dense"]["nll"], readings[chosen]["cost"]["nll"])
    sentences = [f"The loss on calibration text {change} nats per token by the choice of {chosen}."]
    others = {
        name: direction("over_chosen", reading["cost"]["over_chosen"])
        for name, reading in readings.items()
        if name != chosen
    }
    if others:
        costs = {"better": "more", "worse": "less", "same": "the same within the interval"}
        named = {tone: [name for name, each in others.items() if each == tone] for tone in costs}
        said = [
            f"{len(names)} cost {costs[tone]}{f' ({listed(names)})' if names and tone != 'better' else ''}"
            for tone, names in named.items()
        ]
        sentences.append(f"Of {counted(len(others), 'other score')}, {joined(said)}.")
    stable = scores["stability"].get(chosen)
    if stable:
        undecided = f"; {layers_text(stable['undecided'])} undecided" if stable["undecided"] else ""
        sentences.append(
            f"{100 * stable['same']:.0f}{SPACE}% of resampled texts give exactly this choice{undecided}."
        )
    thin = scores.get("thin", {}).get(chosen)
    if thin is not None:
        sentences.append(f"{sentence(too_little(thin).partition(';')[0])}.")
        return Verdict("unsure", " ".join(sentences))
    tone = "worse" if "worse" in others.values() else "better" if "better" in others.values() else "same"
    return Verdict(tone, " ".join(sentences))


def prone(localization: Localization) -> Verdict:
    """Return which layers change most when an answer is wrong, and what the probe says of them."""
    asked, name = localization["questions"], localization["reading"]
    top = sentence(layers_text(localization["most_prone"][:3]))
    sentences = [f"{top} are the most prone to hallucinate by {name}."]
    if asked < TOO_FEW:
        sentences.insert(0, f"{counted(asked, 'question')}: too few to say which layers are prone.")
    sentences += [above_zero(localization), probe_text(localization)]
    return Verdict("unsure" if asked < TOO_FEW else "fact", " ".join(filter(None, sentences)))


def above_zero(localization: Localization) -> str:
    """Return how many layers are certainly higher on wrong answers; "" for a reading without a zero."""
    name = localization["reading"]
    if name != "eavss_contrast":
        return ""
    lows = localization["readings"][name]["low"]
    above = [layer for layer, low in enumerate(lows) if low > 0]
    which = f" ({listed(above)})" if above else ""
    return f"{len(above)} of {len(lows)} layers have an interval wholly above zero{which}."


def probe_text(localization: Localization) -> str:
    """Return how the reading agrees with the linear probe, in a sentence."""
    asked, name = localization["probe_questions"], localization["reading"]
    if asked < TOO_FEW:
        return f"The probe was measured on {counted(asked, 'question')}: too few to say."
    tau = number(localization["agreement"][name]["probe_auroc"], 2)
    return f"Kendall's tau with a linear probe, an independent check, is {tau}."


def trained(mitigation: Mitigation, base: ModelFigures) -> Verdict:
    """Return what training those layers changed, and how it compares with its controls."""
    after = mitigation["mitigated"]
    start = (
        f"training {layers_text(mitigation['training']['dense_layers'])} of the {mitigation['base']} model"
    )
    still = unmoved(mitigation, base)
    if still:
        return Verdict("fact", f"{sentence(start)}: {still}.")
    said = certain(mitigation["mitigated_against_base"], set_sides(base, after))
    perplexities = [side["language_modelling"]["token_perplexity"] for side in (after, base)]
    text = f"perplexity on text is {number(perplexities[0] / perplexities[1])} times the one before"
    if said:
        better, worse = said.count("better"), said.count("worse")
        text = f"{better} of {len(said)} figures of answers are better and {worse} worse; {text}"
    sentences = [f"After {start} {text}", sentence(few(after["sets"]))]
    if not mitigation["against_controls"]:
        sentences.append("No control was trained")
    elif said:
        counts = [
            f"{each.count('better')} better, {each.count('worse')} worse than {control}"
            for control, sets in in_order(mitigation["against_controls"]).items()
            for each in [certain(sets, {name: control_sides(mitigation, control, name) for name in sets})]
        ]
        sentences.append(f"Against its controls: {'; '.join(counts)}")
    return Verdict(overall(said), " ".join(f"{each}." for each in sentences if each))
