"""Write the report: one self-contained page, its figures, and the summary that DVC and MLflow compare."""

from pathlib import Path
from typing import Any

from prefect import task

from avss_core.files.digests import digest_path
from avss_core.files.writing import folder_written_whole, read_json, write_json, write_text
from tasks.records import Repair
from tasks.report.activation_figures import PageRecords, activation_figures
from tasks.report.cards import run_card
from tasks.report.figures.figures import write_figures
from tasks.report.figures.times_picture import write_times
from tasks.report.headline_figures import headline_figures
from tasks.report.page_context import first_words, render_page, timed
from tasks.report.result_tables import write_tables
from tasks.report.run_record import FILE, parts_of, run_record, versions
from tasks.report.summary import summarise
from tasks.report.variants import ladder


@task(name="write-report")
def write_report(
    *,
    prepared: Path,
    dense: Path,
    statistics: Path,
    scores: Path,
    pruned: Path,
    repaired: Path,
    repair: Path,
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
) -> tuple[dict[str, Any], list[Path], list[str]]:
    """Return the summary, the files and the first sentences of the report, written whole or not at all.

    Measured times are not part of it: if this machine has any, a picture of them is drawn into `pictures`.

    Raises:
        FileNotFoundError: the record of another stage is missing; names the file and the stage.
    """
    measured = _record("collect", statistics)
    refits: Repair = _record("repair", repair)
    healed_model = _record("heal", healing / "figures.json")
    records: PageRecords = {
        "manifest": _record("prepare", prepared / "manifest.json"),
        "card": _record("prepare", dense / "model_card.json"),
        "statistics": measured,
        "scores": _record("score", scores),
        "pruned": _record("prune", pruned / "certificate.json"),
        "repair": refits,
        "repaired": _record("repair", repaired / "certificate.json") if refits["enabled"] else None,
        "sizes": _record("speed", sizes),
        "evaluation": _record("evaluate", evaluation / "figures.json"),
        "healing": healed_model,
        "healed": _record("heal", healed / "certificate.json") if healed_model["enabled"] else None,
        "localization": _record("localize", localization),
        "mitigated": _record("mitigate", mitigated / "certificate.json"),
        "mitigation": _record("mitigate", mitigation / "figures.json"),
        "parameters": parameters,
        "activations": activation_figures(measured),
        "checkpoint": digest_path(pruned / "certificate.json"),
    }
    write_times(times, records["checkpoint"], pictures)
    summary = summarise(records)
    with folder_written_whole(folder, replace=True) as part:
        write_text(part / "index.html", render_page(records, write_figures(records, part / "figures")))
        write_json(part / "summary.json", summary)
        write_json(part / "headline.json", headline_figures(summary))
        write_json(part / FILE, run_record(records, parts_of(prepared)) | {"versions": versions()})
        write_tables(records, part / "tables")
        write_text(part / "model_card.md", run_card(records, ladder(records), timed=timed(records["sizes"])))
    shown = [*sorted((folder / "figures").glob("*")), *sorted((folder / "tables").glob("*.csv"))]
    return summary, [*shown, folder / "index.html", folder / FILE], first_words(records)


def _record(stage: str, path: Path) -> Any:
    """Return the record that a stage wrote; its type is that of the field in `PageRecords`."""
    if not path.is_file():
        raise FileNotFoundError(f"{path} is not there; the stage {stage} writes it: run that stage first")
    return read_json(path)
