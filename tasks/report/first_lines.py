"""What stands before the Markdown tables of a run: what was run, and the verdict of the page."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from avss_core.files.writing import read_json
from avss_core.surgery.markdown import plain
from tasks.report.headline import WORDS, headline
from tasks.report.run_record import FILE
from tasks.report.words.wording import listed


def first_screen(found: Mapping[str, Any], data: Path) -> list[list[str]]:
    """Return what was run on what as a heading, and the sentences of the page's first screen as a list.

    Args:
        found: the records scores, evaluation, healing and mitigation.
        data: the folder in which the other records lie; where one is missing, a line says so.
    """
    others = {
        "card": data / "dense/model_card.json",
        "manifest": data / "prepared/manifest.json",
        "pruned": data / "pruned/certificate.json",
        "localization": data / "localization.json",
    }
    missing = [path.name for path in others.values() if not path.is_file()]
    if missing:
        verb = "is" if len(missing) == 1 else "are"
        return [[f"What was run is not told here: {listed(missing)} {verb} missing."]]
    found = {**found, **{name: read_json(path) for name, path in others.items()}}
    sentences = [f"- {WORDS[verdict.tone]}: {plain(verdict.text)}" for verdict in headline(found)]
    return [[_heading(found, data.parent / "reports" / FILE)], sentences]


def _heading(found: Mapping[str, Any], record: Path) -> str:
    """Return model, data and seed in a line, with the sets whose figures are mostly noise."""
    origin = found["manifest"]["origin"]
    data = listed(f"{part} {from_}" for part, from_ in sorted(origin.items()))
    seed = read_json(record)["parameters"].get("seed") if record.is_file() else None
    sets = found["evaluation"]["dense"]["sets"]
    small = [f"{plain(name)} {each['n']}" for name, each in sets.items() if each["small_n"]]
    return (
        f"### {plain(found['card']['name'])}: data {found['manifest']['digest'][:10]} ({data}), "
        f"seed {'not recorded' if seed is None else seed}" + (f"; small n: {listed(small)}" if small else "")
    )
