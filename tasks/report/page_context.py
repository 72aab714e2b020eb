"""The page of a run: what its templates show, put together from the records."""

from collections.abc import Iterable, Mapping
from typing import Any

from markupsafe import Markup

from avss_core.data.left_out import rows_left_out
from avss_core.jobs.prone.answer_wording import answer_lines
from avss_core.judges.judges import JUDGES, kappa, unchosen_kappa
from avss_core.metrics.records import Entry
from avss_core.training.history import best_epoch
from avss_core.training.mitigation.controls import CONTROLS
from tasks.records import RunRecords, Sizes
from tasks.report.activation_figures import PageRecords
from tasks.report.figures.overview_figure import picture_words, row_name
from tasks.report.pages import environment
from tasks.report.result_tables import result_tables
from tasks.report.run_record import versions
from tasks.report.standard_tasks import task_rows
from tasks.report.variants import (
    MEAN,
    control_sides,
    in_brief,
    kept_rows,
    kept_tables,
    ladder,
    set_of,
    trained_base,
    trainings,
)
from tasks.report.words.after_repair import repaired_order
from tasks.report.words.evidence import TOO_FEW, few_kept
from tasks.report.words.findings import findings
from tasks.report.words.headline import above_zero, headline, probe_text
from tasks.report.words.opening import opening
from tasks.report.words.wording import (
    MORE_FIGURES,
    NAMES,
    figure_text,
    interval_text,
    joined,
    sentence,
)

SECTIONS = {
    "verdict": "Verdict",
    "findings": "Findings in words",
    "paper": "The paper\u2019s figures",
    "readings": "Scores side by side",
    "stability": "Stability",
    "pruning": "Retention, repair, healing",
    "calibration": "Calibration",
    "eavss": "EAVSS",
    "mitigation": "Mitigation",
    "size": "Size and speed",
    "checks": "Certificates",
    "parameters": "Data, parameters",
    "limits": "Limits",
}
"""The sections of the page in order, with their names in the contents; templates are section_NAME.html.j2."""

FOLDED = frozenset({"findings", "checks"})
"""Sections that are folded as a whole; their ids stand inside the fold, so that a link opens it."""

_SHORT = {
    MEAN: "answers, mean",
    f"{MEAN}, preference": "preference, mean",
    f"{MEAN}, gold loss": "gold loss, mean",
    "sentiment, accuracy": "sentiment",
    "sentiment, over chance": "\u2026 over chance",
    "language modelling, NLL": "text, nats per token",
}
"""Short names of the shares kept, for the first screen; a question set goes by its own name."""


def render_page(records: PageRecords, figures: Mapping[str, str]) -> str:
    """Return the page; every text of the records is escaped, only the figures are markup."""
    page = environment().get_template("report.html.j2")
    return page.render(
        **records,
        **_context(records),
        figures={name: Markup(svg) for name, svg in figures.items()},
        answer_lines=answer_lines,
        control_sides=control_sides,
        judges=JUDGES,
        more_figures=MORE_FIGURES,
    )


def _context(records: PageRecords) -> dict[str, Any]:
    """Return what the page shows from several records at once."""
    dense, mitigation, healing = records["evaluation"]["dense"], records["mitigation"], records["healing"]
    origin = records["manifest"]["origin"]
    enough = sum(figures["n"] >= TOO_FEW for figures in dense["sets"].values())
    smaller = kept_tables(records)
    # Each of them against the one before it, and the trained model against its base and its controls.
    comparisons = len(smaller) + 1 + len(mitigation["against_controls"])
    return {
        "contents": {
            name: title
            for name, title in SECTIONS.items()
            if name != "stability" or records["scores"]["stability"]
        },
        "folded": FOLDED,
        "opening": first_words(records),
        "picture_words": picture_words(records),
        "base_name": row_name("mitigated", records),
        "headline": headline(records),
        "glance": glance(records),
        "findings": findings(records),
        "banner": banner(origin, dense["sets"]),
        "samples": _parts(origin, "sample"),
        "origins": {source: _parts(origin, source) for source in sorted(set(origin.values()))},
        "versions": [
            f"{name.capitalize() if name == 'python' else name} {version}"
            for name, version in versions(("torch", "transformers", "numpy")).items()
        ],
        "small_sets": [name for name, figures in dense["sets"].items() if figures["small_n"]],
        "compared": comparisons * len(NAMES) * enough,
        "tables": [name for name, rows in result_tables(records).items() if rows],
        "ladder": ladder(records),
        "kept": kept_rows(smaller),
        "unsaid": {name: few_kept(table) for name, table in smaller.items()},
        "healed_base": ladder(records)[healing["base"]] if healing["enabled"] else None,
        "refitted": sum(each["ridge"] is not None for each in records["repair"]["fit"]["projections"])
        if records["repair"]["enabled"]
        else 0,
        "healed_best": best_epoch(healing["training"]["history"]) if healing["enabled"] else None,
        "above_zero": above_zero(records["localization"]),
        "probe_text": probe_text(records["localization"]),
        "base": trained_base(records),
        "best": best_epoch(mitigation["training"]["history"]),
        "trainings": trainings(mitigation),
        "repaired_order": repaired_order(records["scores"]),
        "missing_controls": {
            name: what for name, what in CONTROLS.items() if name not in mitigation["against_controls"]
        },
        "left_out": rows_left_out(records["manifest"]["sets"]),
        "kappas": {name: kappa(figures["judge"], name) for name, figures in dense["sets"].items()},
        "expected_kappas": {
            name: unchosen_kappa(figures["judge"], name) for name, figures in dense["sets"].items()
        },
        "standard_tasks": task_rows(records),
        "timed": timed(records["sizes"]),
    }


def first_words(records: PageRecords) -> list[str]:
    """Return the sentences that open the page, the Markdown and the run in MLflow."""
    return opening(records, records["parameters"].get("gates.min_retention"))


def timed(sizes: Sizes) -> bool:
    """Tell whether the run measured speed: only then are the bytes of keys and values known."""
    return sizes["dense"]["cache_bytes_per_token"] is not None


def banner(origin: Mapping[str, str], sets: Iterable[str]) -> str:
    """Return which figures come from the project's sample data, "" for none.

    Args:
        origin: source of questions, sentiment and text.
        sets: names of the question sets.
    """
    sampled = _parts(origin, "sample")
    own = {part: source for part, source in origin.items() if source != "sample"}
    if not sampled:
        return ""
    if not own:
        return (
            f"This is a sample run: its {joined(sampled)} come from the small sets that the project carries, "
            "so its figures say that the pipeline works, not how good the model is."
        )
    verb = "is" if sampled in (["sentiment"], ["text"]) else "are"
    others = joined(name for part in own for name in (sets if part == "questions" else [part]))
    which = "of your data" if set(own.values()) == {"path"} else "not"
    return (
        f"{sentence(joined(sampled))} {verb} the project's sample; only the figures of {others} are {which}."
    )


def _parts(origin: Mapping[str, str], source: str) -> list[str]:
    """Return the kinds of rows that come from a source."""
    return [part for part, each in sorted(origin.items()) if each == source]


def glance(records: RunRecords) -> dict[str, Any]:
    """Return the table of the first screen.

    Returns:
        columns: their names; rows: name, question set ("" for none) and cells, each with a text, an interval
        and the number of columns that it spans.
    """
    dense, tables = records["evaluation"]["dense"], kept_tables(records)
    own = {f"{name}, accuracy": figures["accuracy"] for name, figures in dense["sets"].items()}
    own["sentiment, accuracy"] = dense["sentiment"]["accuracy"]
    texts = {name: figure_text("accuracy", entry["value"]) for name, entry in own.items()}
    texts["language modelling, NLL"] = figure_text("nll", dense["language_modelling"]["nll"])
    unsaid = {name: few_kept(table) for name, table in tables.items()}
    rows = []
    for name, shares in kept_rows(tables).items():
        if in_brief(name):
            why = {model: unsaid[model].get(name, "") for model in shares}
            set_name = set_of(name) if set_of(name) in dense["sets"] else ""
            cells = [_cell(texts.get(name, "")), *_share_cells(shares, why)]
            rows.append({"name": _SHORT.get(name, set_of(name)), "set": set_name, "cells": cells})
    return {"columns": ["dense", *(f"{name} keeps" for name in tables)], "rows": rows}


def _share_cells(shares: Mapping[str, Entry], why: Mapping[str, str]) -> list[dict[str, Any]]:
    """Return a cell for what each model keeps, or one for all if there is one reason why none has a share."""
    reasons = set(why.values())
    if len(reasons) == 1 and all(entry["value"] is None for entry in shares.values()) and "" not in reasons:
        return [_cell("", reasons.pop(), len(shares))]
    return [
        _cell(figure_text("accuracy", entry["value"]), why[model] or interval_text("accuracy", entry))
        for model, entry in shares.items()
    ]


def _cell(text: str, interval: str = "", span: int = 1) -> dict[str, Any]:
    """Return a cell of the table of the first screen."""
    return {"text": text, "interval": interval, "span": span}
