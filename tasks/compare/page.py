"""Write the comparison of two runs as one page that stands alone."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from markupsafe import Markup

from avss_core.files.writing import write_text
from tasks.compare.drawings import write_svgs
from tasks.compare.terms import KINDS, TONES, WORDS, both_text, difference_text, reasons, value_text
from tasks.compare.verdicts import verdicts
from tasks.report.pages import environment
from tasks.report.words.wording import NAMES

SECTIONS = {
    "differs": "What differs",
    "layers": "Layers and costs",
    "models": "The models\u2019 figures",
    "kept": "Retention",
    "eavss": "EAVSS, mitigation",
    "size": "Size",
    "limits": "How to read this",
}
"""The sections of the page in order, after the verdict, each with its name in the contents."""


def write_page(found: Mapping[str, Any], path: Path) -> None:
    """Write the page of a comparison; see `tasks.compare.runs.compare_runs`.

    Raises:
        IsADirectoryError: there is a folder of this name.
    """
    if path.is_dir():
        raise IsADirectoryError(
            f"{path} is a folder; name a file for the page, such as {path / 'compare.html'}"
        )
    write_text(path, render(found, write_svgs(found)))


def render(found: Mapping[str, Any], figures: Mapping[str, str]) -> str:
    """Return the page; every text of a record is escaped, the figures alone are markup."""
    page = environment().get_template("compare.html.j2")
    return page.render(
        **found,
        figures={name: Markup(svg) for name, svg in figures.items()},
        contents={"verdict": "Verdict", **SECTIONS},
        verdicts=verdicts(found),
        why=reasons(found),
        kinds=KINDS,
        tones=TONES,
        words=WORDS,
        names=NAMES,
        both_text=both_text,
        difference_text=difference_text,
        value_text=value_text,
        sets=list(dict.fromkeys(name for model in found["models"].values() for name in model["sets"])),
    )
