"""A picture of the measured times, which the report shows where this machine has it.

Times are other ones in every run, so the picture is no output that DVC compares. Its name is the digest of
the checkpoint's certificate: a page cannot show the times of another checkpoint.
"""

import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from matplotlib import style
from matplotlib.figure import Figure

from avss_core.files.writing import read_json, write_text
from tasks.report.figures.drawing import INK, ORANGE, STYLE
from tasks.report.figures.svg import tell, with_titles
from tasks.report.words.speed_wording import measured, ratio_text

TIMES = "\u00d7"


def write_times(times: Path, checkpoint: str, folder: Path) -> None:
    """Draw the times of the pruned over the dense model, where they were measured of this checkpoint.

    Args:
        times: what the stage speed measured; it may be missing.
        checkpoint: digest of the certificate of the pruned model.
        folder: of the pictures, one a checkpoint.
    """
    record = read_json(times) if times.is_file() else {}
    if record.get("checkpoint") != checkpoint or not measured(record):
        return
    text = io.StringIO()
    with style.context(["default", STYLE]):
        _drawn(record).savefig(text, format="svg")
    folder.mkdir(parents=True, exist_ok=True)
    write_text(folder / f"{checkpoint[:16]}.svg", with_titles(text.getvalue(), "times"))


def _drawn(record: Mapping[str, Any]) -> Figure:
    """Draw how many times as fast the pruned model is, with intervals, a row for each way of running it."""
    work, ratios = record["workload"], record["ratios"]["pruned"]
    speeds = {name: record["models"][name] for name in ("dense", "pruned")}
    rows = {
        f"reading {work['prompt_tokens']:,} tokens": (
            ratios["prefill"],
            [s["prefill"] for s in speeds.values()],
        )
    }
    rows |= {
        f"writing, {size} at a time": (entry, [s["decode"][size] for s in speeds.values()])
        for size, entry in ratios["decode"].items()
    }
    figure = Figure(figsize=(8, 0.95 + 0.3 * len(rows)), layout="constrained")
    axes = figure.subplots()
    axes.axvline(1, color=INK, lw=0.8)
    for row, (name, (entry, (before, after))) in enumerate(rows.items()):
        axes.plot([entry["low"], entry["high"]], [row, row], color=ORANGE, lw=1.4)
        point = axes.scatter([entry["value"]], [row], color=ORANGE, marker="s", s=24, zorder=3)
        tell(point, [f"{name}\n{ratio_text(entry)}"])
        said = f"{ratio_text(entry, TIMES)}\n{before:,.0f} to {after:,.0f} tokens a second"
        axes.annotate(said, (entry["high"], row), (6, 0), textcoords="offset points", va="center", fontsize=8)
    axes.set_yticks(range(len(rows)), list(rows))
    axes.set_ylim(len(rows) - 0.5, -0.5)
    left, right = (
        min(0.9, *(e["low"] for e, _ in rows.values())),
        max(1, *(e["high"] for e, _ in rows.values())),
    )
    axes.set_xlim(left, right + (right - left))  # the words stand to the right of the intervals
    axes.tick_params(axis="y", length=0)
    axes.grid(visible=False, axis="y")
    memory = " to ".join(f"{s['peak_bytes'] / 1e6:,.0f}" for s in speeds.values())
    axes.set_title(
        f"{work['device']}, {work['threads']} threads, {work['dtype']}; memory {memory} MB at most"
    )
    axes.set_xlabel("speed of the pruned model, times the dense one's")
    return figure
