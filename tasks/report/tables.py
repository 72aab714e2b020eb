"""The results of a run as Markdown tables, for a README or an issue."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from avss_core.files.writing import read_json
from avss_core.surgery.markdown import plain
from tasks.report.first_lines import first_screen
from tasks.report.words.control_wording import control_sides, trainings
from tasks.report.words.evidence import called, few_kept
from tasks.report.words.speed_wording import NOT_MEASURED, measured, ratio_text
from tasks.report.words.wording import NAMES, retentions

FIGURES = ("accuracy", "exact_match", "accuracy_at_50", "coverage_at_50", "ece", "brier")


def markdown_tables(scores: Path, evaluation: Path, healing: Path, mitigation: Path) -> str:
    """Return the verdict, what each score removes and costs, and every figure of every model of a run.

    Args:
        scores: the file of the stage score; model, data and the other records are looked for beside it.
        evaluation: the folder of the stage evaluate.
        healing: that of heal.
        mitigation: that of mitigate.
    """
    scored = read_json(scores)
    figures, healed, mended = (
        read_json(folder / "figures.json") for folder in (evaluation, healing, mitigation)
    )
    variants = {"dense": figures["dense"], "pruned": figures["pruned"]}
    kept = {"pruned": figures["retention"]}
    if healed["enabled"]:
        variants["healed"], kept["healed"] = healed["healed"], healed["retention"]["after"]
    variants["mitigated"] = mended["mitigated"]
    found = {"scores": scored, "evaluation": figures, "healing": healed, "mitigation": mended}
    parts = [
        *first_screen(found, scores.parent),
        _removals(scored),
        _questions(variants),
        _language(variants),
        _retention(kept),
    ]
    if mended["controls"]:
        base = variants[mended["base"]]
        parts += [_trainings(mended, base), _controls(mended, base)]
    parts.append(["What these tables do not show stands at the end of the page, reports/index.html: Limits."])
    return "\n\n".join("\n".join(part) for part in parts)


def speed_table(times: Mapping[str, Any]) -> str:
    """Return what was timed as a Markdown table, with the ratios to the first model and their intervals."""
    if not measured(times):
        return NOT_MEASURED
    sizes = [str(size) for size in times["workload"]["batch_sizes"]]
    heads = ["prefill, tokens/s", *(f"decode, batch {size}" for size in sizes), "peak memory, MB"]
    lines = [f"| model | {' | '.join(heads)} |", "| --- " * (len(heads) + 1) + "|"]
    for name, found in times["models"].items():
        ratios = times["ratios"].get(name)
        cells = [_speed(found["prefill"], ratios and ratios["prefill"])]
        cells += [_speed(found["decode"][size], ratios and ratios["decode"][size]) for size in sizes]
        peak = found["peak_bytes"]
        cells.append("-" if peak is None else f"{peak / 1e6:.0f}")
        lines.append(f"| {plain(name)} | {' | '.join(cells)} |")
    return "\n".join(lines)


def _speed(value: float, ratio: Mapping[str, float] | None) -> str:
    """Return tokens a second, and how many times those of the first model."""
    return f"{value:.1f}" + (f" ({ratio_text(ratio, ' times')})" if ratio else "")


def _retention(tables: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """Return the table of what each variant keeps."""
    heads = [f"kept by the {variant} model [95 %, paired]" for variant in tables]
    lines = [f"| figure | {' | '.join(heads)} |", "| --- " * (len(heads) + 1) + "|"]
    for row in zip(*(retentions(table) for table in tables.values()), strict=True):
        cells = [
            _share(entry, few_kept(table).get(name, ""))
            for (name, entry), table in zip(row, tables.values(), strict=True)
        ]
        lines.append(f"| {plain(row[0][0])} | {' | '.join(cells)} |")
    return lines


def _share(entry: Mapping[str, Any], unsaid: str) -> str:
    """Return a share with its interval in percent, or with why there is none that says anything."""
    if entry["value"] is None:
        return "nothing to keep"
    value, low, high = (f"{100 * entry[key]:z.0f}" for key in ("value", "low", "high"))
    return f"{value} %, {plain(unsaid)}" if unsaid else f"{value} % [{low}, {high}]"


def _removals(scored: Mapping[str, Any]) -> list[str]:
    """Return the table of what each score removes, what that costs, and how sure the choice is."""
    tokens, chosen = scored["dense"]["tokens"], scored["chosen"]
    lines = [
        f"| score | layers removed | NLL [95 %] (nats a token, {tokens} held-out tokens) "
        f"| over {chosen} [95 %] | resamples with this choice |",
        "| --- | --- | --- | --- | --- |",
    ]
    lines.append(f"| none | | {scored['dense']['nll']:.3f} | | |")
    for name, found in scored["readings"].items():
        removed, cost = ", ".join(map(str, found["removed"])), found["cost"]
        over = "" if name == chosen else _interval(cost["over_chosen"])
        sure = scored["stability"].get(name)
        same = f"{100 * sure['same']:.0f} %" if sure else ""
        lines.append(
            f"| {name} | {removed} | {cost['nll']:.3f} [{cost['interval']['low']:.3f}, "
            f"{cost['interval']['high']:.3f}] | {over} | {same} |"
        )
    return lines


def _interval(entry: Mapping[str, Any]) -> str:
    """Return a difference with its sign and interval."""
    return f"{entry['value']:+.3f} [{entry['low']:+.3f}, {entry['high']:+.3f}]"


def _questions(variants: Mapping[str, Any]) -> list[str]:
    """Return the table of question answering, with the 95 % interval of the accuracy."""
    lines = [
        "| set (n, judge) | model | accuracy | EM | accuracy@50 | coverage@50 | ECE | Brier |",
        "| --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    for name in variants["dense"]["sets"]:
        for variant, figures in variants.items():
            found = figures["sets"][name]
            cells = [_number(found[figure]["value"]) for figure in FIGURES]
            cells[0] += f" [{_number(found['accuracy']['low'])}, {_number(found['accuracy']['high'])}]"
            head = f"{plain(name)} ({found['n']}, {found['judge']})" if variant == "dense" else ""
            lines.append(f"| {head} | {variant} | {' | '.join(cells)} |")
    return lines


def _language(variants: Mapping[str, Any]) -> list[str]:
    """Return the table of language modelling and sentiment."""
    lines = [
        "| model | token perplexity | word perplexity | sentiment accuracy | predicted positive |",
        "| --- | --- | --- | --- | --- |",
    ]
    for variant, figures in variants.items():
        text, feeling = figures["language_modelling"], figures["sentiment"]
        accuracy = feeling["accuracy"]
        lines.append(
            f"| {variant} | {text['token_perplexity']:.1f} | {text['word_perplexity']:.1f} | "
            f"{_number(accuracy['value'])} [{_number(accuracy['low'])}, {_number(accuracy['high'])}] | "
            f"{_number(feeling['predicted_positive'])} |"
        )
    return lines


def _trainings(mended: Mapping[str, Any], base: Mapping[str, Any]) -> list[str]:
    """Return the table of what was trained, and how far it moved from the base."""
    lines = [
        "| training | layers (of the dense model) | rank | numbers trained | steps | token perplexity, "
        "times the base's | KL from the base (nats a token) | answered |",
        "| --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    before = base["language_modelling"]["token_perplexity"]
    for name, found in trainings(mended).items():
        training, after = found["training"], found["figures"]["language_modelling"]["token_perplexity"]
        lines.append(
            f"| {name} | {', '.join(map(str, training['dense_layers']))} | {training['rank']} | "
            f"{training['parameters']:,} | {len(training['steps'])} | {after / before:.3f} | "
            f"{found['divergence']['value']:.3f} | {found['answered']:.3f} |"
        )
    return lines


def _controls(mended: Mapping[str, Any], base: Mapping[str, Any]) -> list[str]:
    """Return each training's change from the base and the mitigation's difference to its controls."""
    lines = [
        f"| set | {' | '.join(('difference', *NAMES.values()))} |",
        "| --- " * (len(NAMES) + 2) + "|",
    ]
    for name in mended["mitigated_against_base"]:
        rows, sides = {}, {}
        for each, found in trainings(mended).items():
            label = f"{each} - {mended['base']}"
            rows[label] = found["against_base"][name]
            sides[label] = [base["sets"][name], found["figures"]["sets"][name]]
        for control, sets in mended["against_controls"].items():
            rows[f"mitigated - {control}"] = sets[name]
            sides[f"mitigated - {control}"] = control_sides(mended, control, name)
        for place, (label, entries) in enumerate(rows.items()):
            cells = [_certain(figure, entries[figure], sides[label]) for figure in NAMES]
            lines.append(f"| {plain(name) if place == 0 else ''} | {label} | {' | '.join(cells)} |")
    return lines


def _certain(figure: str, entry: Mapping[str, Any], sides: Sequence[Mapping[str, Any]]) -> str:
    """Return a difference, in bold type where it is better or worse beyond its interval."""
    if entry["value"] is None:
        return "-"
    sure = called(figure, entry, sides) in ("better", "worse")
    return f"**{_interval(entry)}**" if sure else _interval(entry)


def _number(value: float | None) -> str:
    """Return a share with three digits, a dash where there is none."""
    return "-" if value is None else f"{value:.3f}"
