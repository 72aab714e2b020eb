"""Compare fresh scores with those on record, and publish the verdict."""

from dataclasses import asdict
from pathlib import Path
from typing import Any

from prefect import task
from prefect.artifacts import create_markdown_artifact, create_table_artifact

from avss_core.files.writing import read_json
from avss_core.scores.drift import Drift, Scored, drift
from tasks.records import Scores


@task(name="compare-scores")
def compare_scores(record: Path, fresh: Path) -> dict[str, Any]:
    """Return how the scores of `avss score --json` differ from those that the stage `score` wrote.

    Returns:
        The fields of `Drift`, `drifted`, `score` (its name), `layers` (a row for each) and `verdict`.

    Raises:
        FileNotFoundError: there is no record.
        ValueError: the record is of another score or another model, or has no intervals.
    """
    if not record.is_file():
        raise FileNotFoundError(f"{record} is not there: run the pipeline first, with `make repro`")
    before, name = _on_record(read_json(record))
    measured = read_json(fresh)
    if measured["score"] != name:
        raise ValueError(
            f"{record} was chosen by the score {name!r}, and score.name is {measured['score']!r} now: run "
            "the pipeline first, with `make repro`"
        )
    after = Scored([row["score"] for row in measured["layers"]], measured["removed"])
    compared = drift(before, after)
    return asdict(compared) | {
        "drifted": compared.drifted,
        "score": name,
        "layers": _rows(before, after, compared),
        "verdict": verdict(compared, after),
    }


def _on_record(scores: Scores) -> tuple[Scored, str]:
    """Return the scores that chose the removed layers, and their name."""
    reading, stable = scores["readings"][scores["chosen"]], scores["stability"].get(scores["chosen"])
    if stable is not None and "interval" not in stable:
        raise ValueError("the scores on record have no intervals: run the pipeline again, with `make repro`")
    name = reading["score"]
    if stable is None:
        return Scored(reading["scores"], reading["removed"]), name
    return Scored(reading["scores"], reading["removed"], stable["interval"], stable["undecided"]), name


def _rows(before: Scored, after: Scored, compared: Drift) -> list[dict[str, Any]]:
    """Return a table of the layers for a person."""
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
def publish_drift(drifted: dict[str, Any]) -> None:
    """Publish the verdict and the table of layers as artifacts of the run, under fixed keys."""
    create_markdown_artifact(
        f"**{drifted['score']}: {drifted['verdict']}**\n\n"
        "A layer is outside if its fresh score leaves the interval that held 95 % of the resamples of the "
        "calibration text when the pipeline ran. A layer that changed sides counts if the resamples were "
        "sure of it.\n\n"
        "The table of all layers is the artifact `avss-drift-layers`.",
        key="avss-drift",
        description="Do the scores of the layers still hold?",
    )
    create_table_artifact(drifted["layers"], key="avss-drift-layers", description="Scores on record and now")


def _layers(layers: Any) -> str:
    """Return layer numbers for a sentence."""
    return f"layers {', '.join(map(str, layers))}" if layers else "none"
