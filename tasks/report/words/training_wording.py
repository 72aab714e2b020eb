"""What the first screen says of the layers that EAVSS points at, and of their training."""

from collections.abc import Mapping
from typing import Any

from tasks.report.words.control_wording import control_sides, in_order
from tasks.report.words.evidence import TOO_FEW, called, counted, few, unmoved
from tasks.report.words.wording import NAMES, Verdict, listed, number, sentence


def prone(localization: Mapping[str, Any]) -> Verdict:
    """Return which layers change most when an answer is wrong, and what the probe says of them."""
    name, asked = localization["reading"], localization["questions"]
    reading = localization["readings"][name]
    tone, start = "fact", "Layers most prone to wrong answers"
    if asked < TOO_FEW:
        verb = "is" if asked == 1 else "are"
        tone, start = "unsure", f"{start}: {counted(asked, 'question')} {verb} too few to say"
    text = f"Highest by {name}: {listed(localization['most_prone'][:3])}."
    if name == "eavss_contrast":
        above = [layer for layer, low in enumerate(reading["low"]) if low > 0]
        text += f" Above zero beyond its interval: {listed(above)}{' alone' if len(above) == 1 else ''}."
    return Verdict(tone, f"{start}. {text} {probe_text(localization)}")


def probe_text(localization: Mapping[str, Any]) -> str:
    """Return what the linear probe says of the reading, in a sentence."""
    asked, name = localization["probe_questions"], localization["reading"]
    if asked < TOO_FEW:
        return f"The probe was measured on {counted(asked, 'question')}, which says nothing."
    tau = number(localization["agreement"][name]["probe_auroc"], 2)
    return f"A linear probe, the check from outside, agrees with Kendall's tau {tau}."


def trained(mitigation: Mapping[str, Any], base: Mapping[str, Any]) -> Verdict:
    """Return what training those layers changed, and against which controls."""
    after, changes = mitigation["mitigated"], mitigation["mitigated_against_base"]
    start = (
        f"Training layers {listed(mitigation['training']['dense_layers'])} of the {mitigation['base']} model"
    )
    still = unmoved(mitigation, base)
    if still:
        return Verdict("fact", f"{start}, {still}.")
    tones = _tones(changes, {name: [side["sets"][name] for side in (base, after)] for name in changes})
    better, worse = tones.count("better"), tones.count("worse")
    counts = f"{better} of {len(tones)} answer figures surely better, {worse} surely worse"
    texts = [side["language_modelling"]["token_perplexity"] for side in (after, base)]
    parts = [
        *([counts] if tones else []),
        f"perplexity on text {number(texts[0] / texts[1])} times the one before",
    ]
    sentences = [f"{start}: {'; '.join(parts)}", sentence(few(after["sets"]))]
    if not mitigation["against_controls"]:
        sentences.append("No control was trained beside it")
    elif tones:
        sentences.append(f"Surely better / worse than its controls: {_against(mitigation)}")
    return Verdict(_tone(tones), " ".join(f"{each}." for each in sentences if each))


def _tone(tones: list[str]) -> str:
    """Return the tone of all changes together, "fact" where they point both ways."""
    if not tones:
        return "unsure"
    sure = {"better", "worse"} & set(tones)
    return "fact" if len(sure) == 2 else (sure or {"same"}).pop()


def _against(mitigation: Mapping[str, Any]) -> str:
    """Return how many figures are surely better and surely worse than those of each control."""
    counts = []
    for control, sets in in_order(mitigation["against_controls"]).items():
        tones = _tones(sets, {name: control_sides(mitigation, control, name) for name in sets})
        counts.append(f"{control} {tones.count('better')} / {tones.count('worse')}")
    return "; ".join(counts)


def _tones(changes: Mapping[str, Any], sides: Mapping[str, Any]) -> list[str]:
    """Return what each figure of each set that has enough questions may be called."""
    found = [
        called(figure, entries[figure], sides[name]) for name, entries in changes.items() for figure in NAMES
    ]
    return [tone for tone in found if tone != "unsure"]
