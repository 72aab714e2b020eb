"""Write the report: one self-contained page, its figures, and the summary that DVC and MLflow compare."""

import importlib.metadata
import math
import platform
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from markupsafe import Markup
from prefect import task

from avss_core.files.digests import digest_path
from avss_core.files.writing import folder_written_whole, read_json, write_json, write_text
from avss_core.judges.judges import JUDGES, kappa
from avss_core.models.activations import SITES
from avss_core.statistics.statistics import SiteStatistics, merge_statistics, restore_parts
from avss_core.training.controls import CONTROLS
from tasks.report.cards import card_of, evaluated
from tasks.report.figures.figures import write_figures
from tasks.report.figures.times_picture import write_times
from tasks.report.headline import WORDS, glance, headline
from tasks.report.healing_page import shown_of, summary_of
from tasks.report.pages import environment
from tasks.report.result_tables import result_tables, write_tables
from tasks.report.run_record import FILE, parts_of, run_record, versions
from tasks.report.sample_note import banner, samples
from tasks.report.words.control_wording import control_sides, control_verdicts, trainings
from tasks.report.words.evidence import TOO_FEW, few_kept
from tasks.report.words.training_wording import probe_text
from tasks.report.words.wording import MORE_FIGURES, NAMES, answer_lines, retentions, trained_base, verdicts

_SUMMARY_FIGURES = (*NAMES, "exact_match")

SITE_FIGURES: Mapping[str, Callable[[SiteStatistics], float]] = {
    "variance": lambda site: float(site.values.variance()[0]),
    "l1": lambda site: site.token_mean("l1"),
    "l2": lambda site: site.token_mean("l2"),
    "frobenius": SiteStatistics.frobenius_per_root_token,
    "share_below": SiteStatistics.share_below_output,
}
"""What is shown of a site; the last is the share of values under a share of the RMS of the block output."""


SECTIONS = {
    "verdict": "Verdict",
    "findings": "Findings in words",
    "paper": "The paper\u2019s figures",
    "readings": "Scores side by side",
    "stability": "Stability",
    "pruning": "Retention, healing",
    "calibration": "Calibration",
    "eavss": "EAVSS",
    "mitigation": "Mitigation",
    "size": "Size and speed",
    "checks": "Certificates",
    "parameters": "Data, parameters",
    "limits": "Limits",
}
"""The sections of the page in order, with their names in the contents; templates are section_NAME.html.j2."""


@task(name="write-report")
def write_report(
    *,
    prepared: Path,
    dense: Path,
    statistics: Path,
    scores: Path,
    pruned: Path,
    sizes: Path,
    evaluation: Path,
    healed: Path,
    healing: Path,
    localization: Path,
    mitigated: Path,
    mitigation: Path,
    times: Path,
    pictures: Path,
    parameters: dict[str, Any],
    folder: Path,
) -> tuple[dict[str, Any], list[Path]]:
    """Return the summary and the files of the report, written whole or not at all.

    The measured times are no part of it: where there are any, a picture of them is drawn into `pictures`.

    Raises:
        FileNotFoundError: a record of another stage is not there; names the file and the stage.
    """
    records = {
        "manifest": ("prepare", prepared / "manifest.json"),
        "card": ("prepare", dense / "model_card.json"),
        "statistics": ("collect", statistics),
        "scores": ("score", scores),
        "pruned": ("prune", pruned / "certificate.json"),
        "sizes": ("speed", sizes),
        "evaluation": ("evaluate", evaluation / "figures.json"),
        "healing": ("heal", healing / "figures.json"),
        "localization": ("localize", localization),
        "mitigated": ("mitigate", mitigated / "certificate.json"),
        "mitigation": ("mitigate", mitigation / "figures.json"),
    }
    found = {name: _record(stage, path) for name, (stage, path) in records.items()}
    if found["healing"]["enabled"]:
        found["healed"] = _record("heal", healed / "certificate.json")
        found["evaluation"]["healed"] = found["healing"]["healed"]
    found["checkpoint"] = digest_path(pruned / "certificate.json")
    write_times(times, found["checkpoint"], pictures)
    found |= {"parameters": parameters} | activation_figures(found["statistics"])
    summary = summarise(found)
    with folder_written_whole(folder, replace=True) as part:
        write_text(part / "index.html", render_page(found, write_figures(found, part / "figures")))
        write_json(part / "summary.json", summary)
        write_json(part / FILE, run_record(found, parts_of(prepared)) | {"versions": versions()})
        write_tables(found, part / "tables")
        write_text(part / "model_card.md", _card(found))
    shown = [*sorted((folder / "figures").glob("*")), *sorted((folder / "tables").glob("*.csv"))]
    return summary, [*shown, folder / "index.html", folder / FILE]


def _record(stage: str, path: Path) -> Any:
    """Return the record that a stage wrote."""
    if not path.is_file():
        raise FileNotFoundError(f"{path} is not there; the stage {stage} writes it: run that stage first")
    return read_json(path)


def _card(found: Mapping[str, Any]) -> str:
    """Return the card of the pruned checkpoint with all that the run measured of it."""
    scores, known = found["scores"], found["pruned"]["provenance"]
    values = scores["readings"][scores["chosen"]]["scores"] if known["score"] == scores["chosen"] else ()
    kept = evaluated(found["evaluation"])
    return card_of(known["model"], found["pruned"], scores=values, kept=kept, timed=_timed(found))


def _timed(found: Mapping[str, Any]) -> bool:
    """Tell whether speed was measured; of times the records that the page is made of say this alone."""
    return found["sizes"]["dense"]["cache_bytes_per_token"] is not None


def activation_figures(statistics: Mapping[str, Any]) -> dict[str, Any]:
    """Return what the statistics say of each layer.

    Returns:
        sources: source -> site -> each of `SITE_FIGURES` by layer; layer_figures: relative variance and share
        of small values by layer, on the calibration text, of what a block adds to the stream (of another
        site where that was not collected); site: which one.
    """
    read = {source: merge_statistics(restore_parts(record)) for source, record in statistics.items()}
    sources = {
        source: {
            site: {name: [figure(layer.sites[site]) for layer in layers]
                   for name, figure in SITE_FIGURES.items()}
            for site in SITES if site in layers[0].sites
        }
        for source, layers in read.items()
    }  # fmt: skip
    site = "update" if "update" in sources["text"] else next(iter(sources["text"]))
    return {
        "sources": sources,
        "site": site,
        "layer_figures": {
            "contribution": [
                math.exp(layer.sites[site].token_mean("log_contribution")) for layer in read["text"]
            ],
            "share_below": sources["text"][site]["share_below"],
        },
    }


def summarise(found: Mapping[str, Any]) -> dict[str, Any]:
    """Return the run's figures as nested numbers; a figure without a value is left out."""
    scores, evaluation, mitigation = found["scores"], found["evaluation"], found["mitigation"]
    variants = {
        **{name: evaluation[name] for name in ("dense", "pruned", "healed") if name in evaluation},
        "mitigated": mitigation["mitigated"],
    }
    cards = {"dense": "card", "pruned": "pruned", "healed": "healed", "mitigated": "mitigated"}
    changes = {
        "pruned": evaluation["pruned_against_dense"],
        "mitigated": mitigation["mitigated_against_base"],
    }
    controls = mitigation["controls"]
    return _known(
        {
            **{
                variant: {
                    name: {figure: entries[figure]["value"] for figure in _SUMMARY_FIGURES}
                    for name, entries in figures["sets"].items()
                }
                for variant, figures in variants.items()
            },
            "controls": {
                name: {
                    "divergence": found["divergence"]["value"],
                    "sets": {
                        set_name: {figure: entries[figure]["value"] for figure in _SUMMARY_FIGURES}
                        for set_name, entries in found["figures"]["sets"].items()
                    },
                }
                for name, found in controls.items()
            },
            "divergence": mitigation["divergence"]["value"],
            "healing": summary_of(found["healing"]),
            "layers": {"dense": found["card"]["layers"], "pruned": len(found["pruned"]["layer_map"])},
            "parameters": {name: found[cards[name]]["parameters"] for name in variants},
            "retention": {variant: {name: entry["retention"] for name, entry in change.items()}
                          for variant, change in changes.items()},
            "score": {
                "dense_nll": scores["dense"]["nll"],
                "removal_nll": {name: reading["cost"]["nll"] for name, reading in scores["readings"].items()},
                "same_choice": {name: found["same"] for name, found in scores["stability"].items()},
            },
            "sentiment": {name: entry["sentiment"]["accuracy"]["value"] for name, entry in variants.items()},
            "text": {name: entry["language_modelling"]["token_perplexity"]
                     for name, entry in variants.items()},
        }
    )  # fmt: skip


def _known(values: dict[str, Any]) -> dict[str, Any]:
    """Return nested values without those that are None."""
    return {
        key: _known(value) if isinstance(value, dict) else value
        for key, value in sorted(values.items())
        if value is not None
    }


def render_page(found: Mapping[str, Any], figures: Mapping[str, str]) -> str:
    """Return the page; every text of the records is escaped, the figures alone are markup."""
    page = environment().get_template("report.html.j2")
    return page.render(
        **found,
        **_derived(found),
        figures={name: Markup(svg) for name, svg in figures.items()},
        contents=_contents(found),
        tables=[name for name, rows in result_tables(found).items() if rows],
        versions=_versions(),
        headline=headline(found),
        headline_words=WORDS,
        glance=glance(found),
        probe_text=probe_text(found["localization"]),
        verdicts=[*verdicts(found), *control_verdicts(found["mitigation"])],
        answer_lines=answer_lines,
        judges={name: judge.reference for name, judge in JUDGES.items()},
    )


def _contents(found: Mapping[str, Any]) -> dict[str, str]:
    """Return those of `SECTIONS` that this run has something for."""
    left_out = {"stability"} if not found["scores"]["stability"] else set()
    return {name: title for name, title in SECTIONS.items() if name not in left_out}


def _versions() -> list[str]:
    """Return the versions of Python and of the packages that compute, as they are installed here."""
    packages = [f"{name} {importlib.metadata.version(name)}" for name in ("torch", "transformers", "numpy")]
    return [*packages, f"Python {platform.python_version()}"]


def _derived(found: Mapping[str, Any]) -> dict[str, Any]:
    """Return what the page draws from several records at once."""
    dense, mitigation = found["evaluation"]["dense"], found["mitigation"]
    contrast = found["localization"]["readings"][found["localization"]["reading"]]
    return {
        "samples": samples(found["manifest"]["origin"]),
        "banner": banner(found["manifest"]["origin"], dense["sets"]),
        "origins": {
            origin: [part for part, from_ in sorted(found["manifest"]["origin"].items()) if from_ == origin]
            for origin in sorted(set(found["manifest"]["origin"].values()))
        },
        "few": [name for name, figures in dense["sets"].items() if figures["small_n"]],
        "compared": (2 + int(found["healing"]["enabled"]) + len(mitigation["against_controls"]))
        * len(NAMES)
        * sum(figures["n"] >= TOO_FEW for figures in dense["sets"].values()),
        "base": trained_base(found),
        "unsaid": few_kept(found["evaluation"]["retention"]),
        "control_sides": control_sides,
        "timed": _timed(found),
        "retentions": list(retentions(found["evaluation"]["retention"])),
        **shown_of(found["healing"]),
        "more_figures": tuple(MORE_FIGURES.items()),
        "kappas": {name: kappa(figures["judge"], name) for name, figures in dense["sets"].items()},
        "certain": [layer for layer, low in enumerate(contrast["low"]) if low > 0],
        "trainings": trainings(mitigation),
        "missing_controls": {
            name: what for name, what in CONTROLS.items() if name not in mitigation["against_controls"]
        },
        "best": min(mitigation["training"]["history"], key=lambda epoch: epoch["validation_loss"]),
    }
