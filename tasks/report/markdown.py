"""The results of a run as Markdown, for a README or an issue: the page's first words, its verdict, tables."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import cast

from avss_core.data.left_out import rows_left_out
from avss_core.files.writing import read_json
from avss_core.jobs.speed_wording import NOT_MEASURED, measured, ratio_text
from avss_core.metrics.records import Entry, Retention
from avss_core.surgery.markdown import plain
from tasks.records import (
    Abstention,
    ComparedCost,
    Mitigation,
    ModelFigures,
    RunRecords,
    Scores,
    SetFigures,
    SpeedRatio,
    SpeedRecord,
)
from tasks.report.run_record import FILE
from tasks.report.standard_tasks import TaskRow, task_rows
from tasks.report.variants import control_sides, kept_rows, kept_tables, trained_base, trainings, variants
from tasks.report.words.after_repair import repaired_order
from tasks.report.words.evidence import MARKS, called, few_kept
from tasks.report.words.headline import headline
from tasks.report.words.opening import opening
from tasks.report.words.wording import NAMES, joined, listed

FIGURES = ("accuracy", "exact_match", "accuracy_at_50", "coverage_at_50", "ece", "brier")

_BESIDE = {
    "card": "dense/model_card.json",
    "manifest": "prepared/manifest.json",
    "pruned": "pruned/certificate.json",
    "repair": "repair.json",
    "localization": "localization.json",
}
"""Records that lie beside the scores and that only the verdict needs."""


def markdown_tables(scores: Path, evaluation: Path, healing: Path, mitigation: Path) -> str:
    """Return the verdict, what each score removes and costs, and every figure of every model of a run.

    Args:
        scores: the file of the stage score; other records are looked for beside it.
        evaluation: the folder of the stage evaluate.
        healing: the folder of the stage heal.
        mitigation: the folder of the stage mitigate.
    """
    data = scores.parent
    missing = [Path(file).name for file in _BESIDE.values() if not (data / file).is_file()]
    folders = {"evaluation": evaluation, "healing": healing, "mitigation": mitigation}
    files = {name: folder / "figures.json" for name, folder in folders.items()} | {"scores": scores}
    files |= {} if missing else {name: data / file for name, file in _BESIDE.items()}
    records = cast(RunRecords, {name: read_json(file) for name, file in files.items()})
    parts = _first_screen(records, data, missing)
    parts.append(_removals(records["scores"]))
    if order := repaired_order(records["scores"]):
        parts.append([plain(order)])
    parts += [_questions(variants(records)), _language(variants(records))]
    parts.append(_retention(kept_tables(records)))
    if rows := task_rows(records):
        parts.append(_standard_tasks(rows))
    if silent := records["mitigation"].get("abstention"):
        parts.append(_abstention(silent))
    if records["mitigation"]["controls"]:
        base = trained_base(records)
        parts += [_trainings(records["mitigation"], base), _controls(records["mitigation"], base)]
    parts.append(["What these tables do not show is at the end of the page, reports/index.html: Limits."])
    return "\n\n".join("\n".join(part) for part in parts)


def speed_table(times: SpeedRecord) -> str:
    """Return what was timed as a Markdown table, with the ratios to the first model and their intervals."""
    if not measured(times):
        return NOT_MEASURED
    sizes = [str(size) for size in times["workload"]["batch_sizes"]]
    rows = []
    for name, speed in times["models"].items():
        ratios, peak = times["ratios"].get(name), speed["peak_bytes"]
        cells = [_speed(speed["prefill"], ratios and ratios["prefill"])]
        cells += [_speed(speed["decode"][size], ratios and ratios["decode"][size]) for size in sizes]
        rows.append([plain(name), *cells, "-" if peak is None else f"{peak / 1e6:.0f}"])
    heads = ["prefill, tokens/s", *(f"decode, batch {size}" for size in sizes), "peak memory, MB"]
    return "\n".join(_table(["model", *heads], rows))


def _speed(value: float, ratio: SpeedRatio | None) -> str:
    """Return tokens a second, and the ratio to the first model."""
    return f"{value:.1f}" + (f" ({ratio_text(ratio, ' times')})" if ratio else "")


def _first_screen(records: RunRecords, data: Path, missing: Sequence[str]) -> list[list[str]]:
    """Return what was run on what as a heading, the page's first words and its verdict as lists."""
    if missing:
        verb = "is" if len(missing) == 1 else "are"
        return [[f"No verdict without all records of the run: {joined(missing)} {verb} missing."]]
    manifest, run = records["manifest"], data.parent / "reports" / FILE
    parameters = read_json(run)["parameters"] if run.is_file() else {}
    gate = parameters.get("gates.min_retention", "null")
    origin = listed(f"{part} {source}" for part, source in sorted(manifest["origin"].items()))
    seed = parameters.get("seed")
    sets = records["evaluation"]["dense"]["sets"]
    small = [f"{plain(name)} {each['n']}" for name, each in sets.items() if each["small_n"]]
    heading = (
        f"### {plain(records['card']['name'])}: data {manifest['digest'][:10]} ({origin}), "
        f"seed {'not recorded' if seed is None else seed}" + (f"; small n: {listed(small)}" if small else "")
    )
    left_out = rows_left_out(manifest["sets"])
    data_part = [[plain(f"Data. {'. '.join(left_out)}.")]] if left_out else []
    return [
        [heading],
        [f"- {plain(each)}" for each in opening(records, None if gate == "null" else float(gate))],
        *data_part,
        [f"- {MARKS[each.tone]}: {plain(each.text)}" for each in headline(records)],
    ]


def _removals(scores: Scores) -> list[str]:
    """Return the table of what each score removes, what that costs, and how sure the choice is."""
    dense, chosen, thin = scores["dense"], scores["chosen"], scores.get("thin", {})
    repaired = any("repaired" in reading for reading in scores["readings"].values())
    gap = [""] * (2 if repaired else 0)
    rows = [["none", "", f"{dense['nll']:.3f}", "", *gap, ""]]
    for name, reading in scores["readings"].items():
        stable = scores["stability"].get(name)
        costs = [reading["cost"], *([reading["repaired"]] if "repaired" in reading else [])]
        cells = [cell for cost in costs for cell in _cost(cost, chosen=name == chosen)]
        same = f"{100 * stable['same']:.0f} %" if stable else "too little text" if name in thin else ""
        rows.append([name, listed(reading["removed"]), *cells, same])
    after = ["NLL after repair [95 %]", f"over {chosen} after repair [95 %]"] if repaired else []
    heads = [
        "score",
        "layers removed",
        f"NLL [95 %] (nats a token, {dense['tokens']} held-out tokens)",
        f"over {chosen} [95 %]",
        *after,
        "resamples with this choice",
    ]
    return _table(heads, rows)


def _cost(cost: ComparedCost, *, chosen: bool) -> list[str]:
    """Return a loss with its interval, and how far it lies above that of the reading that prunes."""
    nll = f"{cost['nll']:.3f} [{_number(cost['interval']['low'])}, {_number(cost['interval']['high'])}]"
    return [nll, "" if chosen else _difference(cost["over_chosen"])]


def _questions(models: Mapping[str, ModelFigures]) -> list[str]:
    """Return the table of question answering, with the 95 % interval of the accuracy."""
    rows = []
    for name in models["dense"]["sets"]:
        for variant, figures in models.items():
            each = figures["sets"][name]
            values = [
                each[figure]["value"]
                for figure in ("exact_match", "accuracy_at_50", "coverage_at_50", "ece", "brier")
            ]
            head = f"{plain(name)} ({each['n']}, {each['judge']})" if variant == "dense" else ""
            rows.append([head, variant, _banded(each["accuracy"]), *map(_number, values)])
    heads = ["set (n, judge)", "model", "accuracy", "EM", "accuracy@50", "coverage@50", "ECE", "Brier"]
    return _table(heads, rows)


def _language(models: Mapping[str, ModelFigures]) -> list[str]:
    """Return the table of language modelling and sentiment."""
    rows = []
    for variant, figures in models.items():
        text, sentiment = figures["language_modelling"], figures["sentiment"]
        perplexities = [f"{text['token_perplexity']:.1f}", f"{text['word_perplexity']:.1f}"]
        positive = _number(sentiment["predicted_positive"])
        feeling = [_banded(sentiment[figure]) for figure in ("accuracy", "auroc")]
        rows.append([variant, *perplexities, *feeling, positive])
    heads = ["model", "token perplexity", "word perplexity", "sentiment accuracy", "sentiment AUROC"]
    heads.append("predicted positive")
    return _table(heads, rows)


def _retention(tables: Mapping[str, Retention]) -> list[str]:
    """Return the table of what each model keeps of the dense one."""
    unsaid = {model: few_kept(table) for model, table in tables.items()}
    rows = [
        [plain(name), *(_share(entry, unsaid[model].get(name, "")) for model, entry in row.items())]
        for name, row in kept_rows(tables).items()
    ]
    return _table(["figure", *(f"kept by the {name} model [95 %, paired]" for name in tables)], rows)


def _share(entry: Entry, unsaid: str) -> str:
    """Return a share with its interval in percent, or the reason why there is no interval or no share."""
    if entry["value"] is None or entry["low"] is None or entry["high"] is None:
        return plain(unsaid) or "nothing to keep"
    value, low, high = (f"{100 * each:z.0f}" for each in (entry["value"], entry["low"], entry["high"]))
    return f"{value} %, {plain(unsaid)}" if unsaid else f"{value} % [{low}, {high}]"


def _standard_tasks(rows: Sequence[TaskRow]) -> list[str]:
    """Return the table of the tasks of lm-evaluation-harness: each model's figure, and what it keeps."""
    models = list(rows[0].values)
    heads = ["task", "figure", "n", *(f"{name} [95 %]" for name in models)]
    heads += [f"{name} keeps" for name in rows[0].kept]
    cells = [
        [
            plain(row.task),
            plain(row.figure),
            str(row.n),
            *(_banded(entry) for entry in row.values.values()),
            *("-" if entry is None else _share(entry, "") for entry in row.kept.values()),
        ]
        for row in rows
    ]
    return _table(heads, cells)


def _abstention(models: Mapping[str, Mapping[str, Abstention]]) -> list[str]:
    """Return the table of what each model answers, and how often wrongly, if it must be sure enough."""
    first = next(iter(models.values()))
    risk = next(iter(first.values()))["risk"]
    heads = [f"{name}: {what}" for name in models for what in ("answered", f"wrong (goal {risk:g})")]
    cells = {
        name: [_banded(sets[name][part]) for sets in models.values() for part in ("answered", "error")]
        for name in first
    }
    return _table(["set", *heads], [[plain(name), *row] for name, row in cells.items()])


def _trainings(mitigation: Mitigation, base: ModelFigures) -> list[str]:
    """Return the table of what was trained, and how far it moved from the base."""
    before = base["language_modelling"]["token_perplexity"]
    rows = []
    for name, each in trainings(mitigation).items():
        training, after = each["training"], each["figures"]["language_modelling"]["token_perplexity"]
        cells = [listed(training["dense_layers"]), str(training["rank"]), f"{training['parameters']:,}"]
        cells += [str(len(training["steps"])), f"{after / before:.3f}"]
        rows.append([name, *cells, _number(each["divergence"]["value"]), f"{each['answered']:.3f}"])
    heads = [
        "training",
        "layers (of the dense model)",
        "rank",
        "numbers trained",
        "steps",
        "token perplexity, times the base's",
        "KL from the base (nats a token)",
        "answered",
    ]
    return _table(heads, rows)


def _controls(mitigation: Mitigation, base: ModelFigures) -> list[str]:
    """Return the table of each training minus the base, and of the mitigation minus its controls."""
    rows = []
    for name in mitigation["mitigated_against_base"]:
        differences = [
            (f"{each} - {mitigation['base']}", training["against_base"][name],
             [base["sets"][name], training["figures"]["sets"][name]])
            for each, training in trainings(mitigation).items()
        ] + [
            (f"mitigated - {control}", sets[name], control_sides(mitigation, control, name))
            for control, sets in mitigation["against_controls"].items()
        ]  # fmt: skip
        for place, (label, entries, sides) in enumerate(differences):
            cells = [_certain(figure, entries[figure], sides) for figure in NAMES]
            rows.append([plain(name) if place == 0 else "", label, *cells])
    return _table(["set", "difference", *NAMES.values()], rows)


def _certain(figure: str, entry: Entry, sides: Sequence[SetFigures]) -> str:
    """Return a difference, in bold type if it is better or worse beyond its interval."""
    if entry["value"] is None:
        return "-"
    sure = called(figure, entry, sides) in ("better", "worse")
    return f"**{_difference(entry)}**" if sure else _difference(entry)


def _difference(entry: Entry) -> str:
    """Return a difference with its sign and interval."""
    return "{value:+.3f} [{low:+.3f}, {high:+.3f}]".format_map(entry)


def _banded(entry: Entry) -> str:
    """Return a figure with its interval."""
    return f"{_number(entry['value'])} [{_number(entry['low'])}, {_number(entry['high'])}]"


def _number(value: float | None) -> str:
    """Return a figure with three digits, a dash for None."""
    return "-" if value is None else f"{value:.3f}"


def _table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    """Return the lines of a table."""
    return [f"| {' | '.join(cells)} |" for cells in (heads, ["---"] * len(heads), *rows)]
