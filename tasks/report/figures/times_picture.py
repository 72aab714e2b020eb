"""A picture of the measured times, which the report shows on the machine that measured them.

Times differ in every run, so the picture is not an output that DVC compares. Its name is the digest of the
checkpoint's certificate: a page cannot show the times of another checkpoint.
"""

from pathlib import Path
from typing import Any

from matplotlib import style
from matplotlib.figure import Figure

from avss_core.files.writing import read_json, write_text
from avss_core.jobs.speed_wording import measured, ratio_text
from tasks.records import SpeedRecord
from tasks.report.figures.drawing import INK, ORANGE, STYLE, name_rows
from tasks.report.figures.svg import as_svg, tell

TIMES = "\u00d7"


def write_times(times: Path, checkpoint: str, folder: Path) -> None:
    """Draw the times of the pruned over the dense model, if they were measured of this checkpoint.

    Args:
        times: the record of the stage speed; the file may be missing.
        checkpoint: digest of the certificate of the pruned model.
        folder: folder of the pictures, one a checkpoint.
    """
    record: Any = read_json(times) if times.is_file() else {}
    if record.get("checkpoint") == checkpoint and measured(record):
        folder.mkdir(parents=True, exist_ok=True)
        with style.context(["default", STYLE]):
            write_text(folder / f"{checkpoint[:16]}.svg", as_svg(_drawn(record), "times"))


def _drawn(record: SpeedRecord) -> Figure:
    """Draw how many times as fast the pruned model is, with intervals, a row for each workload."""
    work, ratios = record["workload"], record["ratios"]["pruned"]
    speeds = {name: record["models"][name] for name in ("dense", "pruned")}
    prompt = f"reading {work['prompt_tokens']:,} tokens"
    rows = {prompt: (ratios["prefill"], [speed["prefill"] for speed in speeds.values()])}
    for size, entry in ratios["decode"].items():
        rows[f"writing, {size} at a time"] = (entry, [speed["decode"][size] for speed in speeds.values()])
    figure = Figure(figsize=(8, 0.95 + 0.3 * len(rows)), layout="constrained")
    axes = figure.subplots()
    axes.axvline(1, color=INK, lw=0.8)
    for row, (name, (entry, (before, after))) in enumerate(rows.items()):
        axes.plot([entry["low"], entry["high"]], [row, row], color=ORANGE, lw=1.4)
        point = axes.scatter([entry["value"]], [row], color=ORANGE, marker="s", s=24, zorder=3)
        tell(point, [f"{name}\n{ratio_text(entry)}"])
        said = f"{ratio_text(entry, TIMES)}\n{before:,.0f} to {after:,.0f} tokens a second"
        axes.annotate(said, (entry["high"], row), (6, 0), textcoords="offset points", va="center", fontsize=8)
    name_rows(axes, [*rows])
    left = min(0.9, *(entry["low"] for entry, _ in rows.values()))
    right = max(1, *(entry["high"] for entry, _ in rows.values()))
    axes.set_xlim(left, right + (right - left))  # the words stand to the right of the intervals
    peaks = [speed["peak_bytes"] for speed in speeds.values()]
    memory = " to ".join("?" if peak is None else f"{peak / 1e6:,.0f}" for peak in peaks)
    axes.set_title(
        f"{work['device']}, {work['threads']} threads, {work['dtype']}; memory {memory} MB at most"
    )
    axes.set_xlabel("speed of the pruned model, times the dense one's")
    return figure
