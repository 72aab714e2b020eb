"""Compare scores that were measured afresh with those on record, and say so where people look."""

from dataclasses import asdict
from pathlib import Path
from typing import Any

from prefect import task
from prefect.artifacts import create_markdown_artifact, create_table_artifact

from avss_core.files.writing import read_json
from avss_core.scores.drift import Drift, Scored, drift


@task(name="compare-scores")
def compare_scores(record: Path, fresh: Path) -> dict[str, Any]:
    """Return how the scores of `avss score --json` differ from those that the stage score wrote.

    Returns:
        the fields of `Drift`, with drifted, score (the name) and layers, one row a layer.

    Raises:
        FileNotFoundError: there is no record.
        ValueError: the record is of another score or another model, or has no intervals.
    """
    if not record.is_file():
        raise FileNotFoundError(f"{record} is not there: run the pipeline first, with `make repro`")
    before, name = _on_record(read_json(record))
    found = read_json(fresh)
    if found["score"] != name:
        raise ValueError(
            f"{record} was chosen by the score {name!r}, and score.name is {found['score']!r} now: run the "
            "pipeline first, with `make repro`"
        )
    after = Scored([row["score"] for row in found["layers"]], found["removed"])
    compared = drift(before, after)
    return asdict(compared) | {
        "drifted": compared.drifted,
        "score": name,
        "layers": _rows(before, after, compared),
        "verdict": verdict(compared, after),
    }


def _on_record(scores: dict[str, Any]) -> tuple[Scored, str]:
    """Return the scores that chose, and the score's name."""
    reading, stable = scores["readings"][scores["chosen"]], scores["stability"].get(scores["chosen"])
    if stable is not None and "interval" not in stable:
        raise ValueError("the scores on record have no intervals: run the pipeline again, with `make repro`")
    name = reading["score"]
    if stable is None:
        return Scored(reading["scores"], reading["removed"]), name
    return Scored(reading["scores"], reading["removed"], stable["interval"], stable["undecided"]), name


def _rows(before: Scored, after: Scored, compared: Drift) -> list[dict[str, Any]]:
    """Return what a person looks up of each layer."""
    return [
        {
            "layer": layer,
            "on record": was,
            "low": low,
            "high": high,
            "now": now,
            "outside": layer in compared.outside,
            "went": layer in before.removed,
            "goes": layer in after.removed,
        }
        for layer, (was, low, high, now) in enumerate(
            zip(before.scores, compared.low, compared.high, after.scores, strict=True)
        )
    ]


def verdict(compared: Drift, after: Scored) -> str:
    """Return one line that says whether the scores drifted, and which layers."""
    changes = [
        f"{what} {_layers(layers)}"
        for what, layers in (
            ("outside of the interval over resamples:", compared.outside),
            ("would go now:", compared.joined),
            ("would stay now:", compared.left),
        )
        if layers
    ]
    if not changes:
        changes = [f"the same layers go: {_layers(after.removed)}"]
    elif not compared.drifted:
        changes.append("which is within the noise of the record")
    agreement = "none" if compared.agreement is None else f"{compared.agreement:.3f}"
    return (
        f"{'drifted' if compared.drifted else 'steady'}; {'; '.join(changes)}; rank agreement {agreement}, "
        f"largest change {compared.largest:.2%} of a score"
    )


@task(name="publish-drift")
def publish_drift(found: dict[str, Any]) -> None:
    """Leave the verdict and the table of layers as artifacts of the run, under keys that stay."""
    create_markdown_artifact(
        f"**{found['score']}: {found['verdict']}**\n\nA layer is outside where its score, measured afresh, "
        "leaves the interval in which 95 % of the resamples of the calibration text put it when the pipeline "
        "ran. A layer that changed sides counts where the resamples were sure of it.\n\n"
        "The table of all layers is the artifact `avss-drift-layers`.",
        key="avss-drift",
        description="Do the scores of the layers still hold?",
    )
    create_table_artifact(found["layers"], key="avss-drift-layers", description="Scores on record and now")


def _layers(layers: Any) -> str:
    """Return layer numbers for a sentence."""
    return f"layers {', '.join(map(str, layers))}" if layers else "none"
