"""A comparison of two runs as plain rows, and as Markdown."""

from collections.abc import Iterator, Mapping
from typing import Any

from avss_core.surgery.markdown import plain
from tasks.compare.terms import TONES, both_text, difference_text, value_text
from tasks.compare.verdicts import verdicts
from tasks.report.words.wording import NAMES, NONE, listed

Row = dict[str, Any]
Found = Mapping[str, Any]


def plain_rows(found: Found) -> list[Row]:
    """Return a row for each setting that differs and each figure: a, b, change (b minus a), its interval."""
    rows: list[Row] = [
        {"part": kind, "name": name, "a": values[0], "b": values[1]}
        for kind, differing in found["differs"].items()
        for name, values in differing.items()
    ]
    rows += [
        {
            "part": f"layers, {name}",
            "name": "removed",
            "a": listed(each["removed"][0]),
            "b": listed(each["removed"][1]),
        }
        for name, each in _chosen(found)
    ]
    for part, name, _, entry in figures(found):
        ends = {key: entry["change"][key] for key in ("low", "high")}
        rows.append({"part": part, "name": name, "a": entry["a"]["value"], "b": entry["b"]["value"],
                     "change": entry["change"]["value"], **ends, "paired": entry["paired"],
                     "verdict": entry["tone"]})  # fmt: skip
    return rows


def figures(found: Found) -> Iterator[tuple[str, str, str, Found]]:
    """Yield every compared figure: the part that it belongs to, its name there, its kind, and its entry."""
    for name, each in found["readings"]["scores"].items():
        yield "removal loss", name, "nll", each["cost"]
    for variant, model in found["models"].items():
        yield variant, "text nll", "nll", model["text"]["nll"]
        yield variant, "sentiment accuracy", "accuracy", model["sentiment"]["accuracy"]
        for name, entry in model["sets"].items():
            for figure in NAMES:
                yield variant, f"{name} {figure}", figure, entry["figures"][figure]
    for variant, kept in found["retention"].items():
        for name, entry in kept.items():
            yield f"kept by {variant}", name, "accuracy", entry
    yield "mitigation", "divergence from its base", "nll", found["mitigation"]["divergence"]


def markdown(found: Found) -> str:
    """Return the comparison as Markdown: what was found, what differs, and a table of every figure."""
    runs = found["runs"]
    lines = [
        f"A: {plain(runs['a']['name'])} ({runs['a']['kind']})  ",
        f"B: {plain(runs['b']['name'])} ({runs['b']['kind']})",
        "",
    ]
    for verdict in verdicts(found):
        lines.append(f"- {plain(verdict.text)}")
        lines += [f"  - {plain(detail)}" for detail in verdict.details]
    lines += ["", "| what differs | A | B |", "| --- | --- | --- |"]
    lines += [
        f"| {kind}: {plain(name)} | {plain(value_text(values[0]))} | {plain(value_text(values[1]))} |"
        for kind, differing in found["differs"].items()
        for name, values in differing.items()
    ] or ["| nothing | | |"]
    lines += ["", "| score | removed by A | removed by B | tau |", "| --- | --- | --- | --- |"]
    lines += [
        f"| {plain(name)} | {listed(each['removed'][0])} | {listed(each['removed'][1])} "
        f"| {NONE if each.get('tau') is None else format(each['tau'], '.2f')} |"
        for name, each in _chosen(found)
    ]
    lines += ["", "| figure | A [95 %] | B [95 %] | B minus A | verdict |", "| --- | --- | --- | --- | --- |"]
    lines += [
        f"| {plain(part)}: {plain(name)} | {' | '.join(both_text(kind, entry))} "
        f"| {difference_text(kind, entry)} | {TONES[entry['tone']]} |"
        for part, name, kind, entry in figures(found)
    ]
    return "\n".join(lines)


def _chosen(found: Found) -> Iterator[tuple[str, Found]]:
    """Yield what the pruned models lost, then what each score of both runs chooses."""
    yield "pruned", found["choice"]
    yield from found["readings"]["scores"].items()
