"""What the controls of the mitigation say, in sentences that follow from the intervals."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from avss_core.training.controls import CONTROLS
from tasks.report.words.evidence import NOT_SURE, called, few
from tasks.report.words.wording import NAMES, Verdict, change_text

_SUBJECTS = {
    "cross_entropy": "The contrastive terms, against cross entropy alone on the same layers",
    "random": "Choosing layers by EAVSS, against layers drawn at random",
    "lowest": "Choosing the most prone layers, against the least prone ones",
    "all": "Training the chosen layers, against all layers at a lower rank",
}


def trainings(mitigation: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Return the mitigation and its controls in one form, for a table.

    Returns:
        name -> what (it trains), training, figures, against_base, divergence, and answered: the share of all
        questions that got an answer.
    """
    own = {
        "training": mitigation["training"],
        "figures": mitigation["mitigated"],
        "against_base": mitigation["mitigated_against_base"],
        "divergence": mitigation["divergence"],
    }
    return {
        name: {**found, "what": _what(name), "answered": _answered(found["figures"])}
        for name, found in {"mitigated": own, **in_order(mitigation["controls"])}.items()
    }


def control_verdicts(mitigation: Mapping[str, Any]) -> Iterator[Verdict]:
    """Yield one verdict a control: on which sets the mitigation did better, worse, or no different."""
    for control, sets in in_order(mitigation["against_controls"]).items():
        sides = {name: control_sides(mitigation, control, name) for name in sets}
        tones = {name: _tone(entries, sides[name]) for name, entries in sets.items()}
        parts = [
            f"{words} on {', '.join(names)}"
            for tone, words in _WORDS.items()
            if (names := [name for name, found in tones.items() if found == tone])
        ]
        draws = sum(name.startswith("random_") for name in mitigation["controls"])
        about = f" (mean of {draws} draws)" if control == "random" else ""
        yield Verdict(
            _overall(set(tones.values())),
            f"{_SUBJECTS[control]}{about}: {'; '.join([*parts, *filter(None, [_few(mitigation, sets)])])}.",
            tuple(
                f"{name}: {_line(entries, sides[name])}"
                for name, entries in sets.items()
                if tones[name] != "unsure"
            ),
        )


def control_sides(mitigation: Mapping[str, Any], control: str, name: str) -> list[Mapping[str, Any]]:
    """Return the figures of a question set of the mitigated model and of each draw of a control."""
    others = (found["figures"] for key, found in mitigation["controls"].items() if _kind(key) == control)
    return [figures["sets"][name] for figures in (mitigation["mitigated"], *others)]


def _few(mitigation: Mapping[str, Any], names: Iterable[str]) -> str:
    """Return which of the sets have too few questions, "" for none."""
    return few({name: mitigation["mitigated"]["sets"][name] for name in names})


_WORDS = {
    "better": "better",
    "worse": "worse",
    "mixed": "better in some figures and worse in others",
    "same": "no better, within the intervals,",
}


def in_order(controls: Mapping[str, Any]) -> dict[str, Any]:
    """Return records by control in the order of `CONTROLS`; a file holds them in that of the alphabet."""
    places = list(CONTROLS)
    return dict(sorted(controls.items(), key=lambda item: (places.index(_kind(item[0])), item[0])))


def _kind(name: str) -> str:
    """Return the control that a training is of: random_2 is a draw of random."""
    return "random" if name.startswith("random_") else name


def _what(name: str) -> str:
    """Return what a training trains."""
    if name == "mitigated":
        return "the most prone layers"
    return CONTROLS[_kind(name)]


def _answered(figures: Mapping[str, Any]) -> float:
    """Return the share of all questions that got an answer."""
    sets = figures["sets"].values()
    return sum(found["answered"] * found["n"] for found in sets) / sum(found["n"] for found in sets)


def _tone(entries: Mapping[str, Any], sides: Sequence[Mapping[str, Any]]) -> str:
    """Return what the intervals of a set's differences say together."""
    found = {called(figure, entries[figure], sides) for figure in NAMES} - {"same", "hollow"}
    return "mixed" if len(found) == 2 else (found or {"same"}).pop()


def _overall(tones: set[str]) -> str:
    """Return the tone of a verdict over sets; "fact" where they point different ways."""
    found = tones - {"same", "unsure"}
    if not found:
        return "same" if "same" in tones else "unsure"
    return found.pop() if len(found) == 1 and "mixed" not in found else "fact"


def _line(entries: Mapping[str, Any], sides: Sequence[Mapping[str, Any]]) -> str:
    """Return the differences of a set that are certain, then that of every other figure."""
    tones = {figure: called(figure, entries[figure], sides) for figure in NAMES}
    texts = {
        figure: f"{label} {change_text(figure, entries[figure])}"
        for figure, label in NAMES.items()
        if entries[figure]["value"] is not None
    }
    sure = [text for figure, text in texts.items() if tones[figure] in ("better", "worse")]
    unlike = {"not certain": "same", f"not judged ({NOT_SURE})": "hollow"}
    for head, tone in unlike.items():
        rest = [text for figure, text in texts.items() if tones[figure] == tone]
        sure += [f"{head}: {', '.join(rest)}"] if rest else []
    return "; ".join(sure)
