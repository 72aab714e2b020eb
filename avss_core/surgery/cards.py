"""The card of a pruned checkpoint: removed layers, their cost, the checks, and the limits."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from avss_core.models.locations import base_model, gguf_file
from avss_core.models.older_keys import OLDEST
from avss_core.surgery.certificate_records import Certificate
from avss_core.surgery.exports import quoted
from avss_core.surgery.markdown import plain


@dataclass(frozen=True)
class Kept:
    """One figure of the source and of the checkpoint, on the same data."""

    task: str
    """What was measured, on which data, with its n and judge."""
    before: float | None
    after: float | None
    retention: float | None
    """Share of the source's figure that is left; None if the source's figure is zero or missing."""


def card_of(
    model: str,
    certificate: Certificate,
    *,
    scores: Sequence[float] = (),
    kept: Sequence[Kept] = (),
    later: Mapping[str, Sequence[Kept]] | None = None,
    timed: bool = True,
) -> str:
    """Return the card of a checkpoint pruned from a model, given by name, Hub id or folder."""
    base = base_model(model)
    name = model if base else Path(model).name  # a card names no place on this machine
    quantised = gguf_file(model)
    return model_card(name, certificate, base, quantised, scores=scores, kept=kept, later=later, timed=timed)


def model_card(
    name: str,
    certificate: Certificate,
    base_model: str | None = None,
    quantised: str | None = None,
    *,
    scores: Sequence[float] = (),
    kept: Sequence[Kept] = (),
    later: Mapping[str, Sequence[Kept]] | None = None,
    timed: bool = True,
) -> str:
    """Return the README of a pruned checkpoint.

    Args:
        name: the source's name.
        certificate: of the checkpoint.
        base_model: Hub id of the source, if it has one.
        quantised: file with quantised weights that the source was read from, if it was.
        scores: of each layer of the source by the score that chose the layers; empty if they were not scored.
        kept: figures of the source and of the checkpoint.
        later: the same of checkpoints that were made from this one, such as repaired, by name.
        timed: whether the run that made the checkpoint measured its speed.
    """
    known = certificate["provenance"]
    return "\n".join(
        [
            *_front_matter(base_model),
            "",
            f"# {plain(name)} without {_layers(known['removed'])}",
            "",
            *_table(certificate),
            "",
            f"Layers are numbered from 0, as in the source. {_loads(certificate)}",
            "",
            *_kept("What was kept", "pruned", kept),
            *(line for each, figures in (later or {}).items() for line in _later(each, figures)),
            *_scores(scores, known["removed"], known.get("score", "")),
            *how_checked(certificate),
            "",
            "## Limits",
            "",
            "- The checks say that the file is what it claims to be, not how good the model is. Removing "
            "layers costs quality: measure it on your own task before use.",
            *(() if kept else ("- What the removal cost was not measured.",)),
            *(() if timed else ("- How fast it is was not measured.",)),
            "- No training has followed the removal.",
            *_quantised_limit(quantised),
            *_version_limit(certificate),
            "- The source's licence, intended use and biases hold for what is left of it.",
            "",
            "`mergekit.yaml` and `llama-quantize.txt` hold the same choice of layers for those tools. They "
            "repeat the removal alone, not what `avss repair` and `avss heal` change.",
            "",
        ]
    )


def how_checked(certificate: Certificate) -> list[str]:
    """Return the section on the checks of a checkpoint."""
    return [
        "## How it was checked",
        "",
        f"The checkpoint was {certificate['way']}; then a process that had seen nothing of it made these "
        "checks. `avss verify DIR` repeats them from `certificate.json`.",
        "",
        *(
            f"- {check['name']}: {'passed' if check['passed'] else 'failed'} ({plain(check['detail'])})"
            for check in certificate["checks"]
        ),
    ]


def _front_matter(base_model: str | None) -> list[str]:
    """Return the lines that the Hub reads."""
    base = [f"base_model: {quoted(base_model)}"] if base_model else []
    return [
        "---",
        *base,
        "library_name: transformers",
        "pipeline_tag: text-generation",
        "tags:",
        "  - avss",
        "  - layer-pruning",
        "  - pruned",
        "---",
    ]


def _quantised_limit(file: str | None) -> list[str]:
    """Return the limit that comes with quantised weights."""
    if file is None:
        return []
    return [
        f"- The weights were read from {plain(file)}, so they are rounded; a merge by mergekit starts from "
        "those of the base model and differs."
    ]


def _loads(certificate: Certificate) -> str:
    """Return with what the checkpoint loads; certificates of older releases name no version."""
    version = certificate.get("transformers")
    since = f", version {version} or later" if version else ""
    return f"The checkpoint loads with `transformers` alone{since}."


def _version_limit(certificate: Certificate) -> list[str]:
    """Return the limit of a checkpoint that the keys of transformers 4 cannot describe."""
    version = certificate.get("transformers", OLDEST)
    if version == OLDEST:
        return []
    return [f"- An older `transformers` than {version} may read another model out of it, without a word."]


def _table(certificate: Certificate) -> list[str]:
    """Return the table of the removed layers and the size."""
    known = certificate["provenance"]
    before, after = known["dense_parameters"], certificate["parameters"]
    rows = {
        "layers removed": ", ".join(map(str, known["removed"])),
        "layers left": str(len(certificate["layer_map"])),
        "chosen by": known.get("score", "unknown"),
        "parameters before": f"{before:,}",
        "parameters after": f"{after:,} ({after / before:.1%})",
        "dtype": certificate["dtype"],
    }
    if "removed_dense" in known:
        rows["their numbers in the dense model"] = ", ".join(map(str, known["removed_dense"]))
    return ["| | |", "| --- | --- |", *(f"| {key} | {plain(value)} |" for key, value in rows.items())]


def _layers(removed: Sequence[int]) -> str:
    """Return a count of layers with its noun."""
    return f"{len(removed)} layer{'s' if len(removed) > 1 else ''}"


def _later(name: str, kept: Sequence[Kept]) -> list[str]:
    """Return the table of what was measured of a checkpoint that was made from this one."""
    return _kept(f"What the {plain(name)} model keeps: another checkpoint, made from this one", name, kept)


def _kept(title: str, name: str, kept: Sequence[Kept]) -> list[str]:
    """Return the table of what was measured of the source and of a smaller model."""
    if not kept:
        return []
    rows = [
        f"| {plain(row.task)} | {_figure(row.before)} | {_figure(row.after)} | "
        f"{'-' if row.retention is None else f'{row.retention:.1%}'} |"
        for row in kept
    ]
    head = [f"| measured on | unpruned | {plain(name)} | kept |", "| --- | --- | --- | --- |"]
    return [f"## {title}", "", *head, *rows, ""]


def _scores(scores: Sequence[float], removed: Sequence[int], name: str) -> list[str]:
    """Return the table of every layer's score, the removed ones marked."""
    if not scores:
        return []
    rows = [
        f"| {layer} | {score:.4g} | {'removed' if layer in removed else ''} |"
        for layer, score in enumerate(scores)
    ]
    explained = f"By `{name}`; the layer with the lowest score goes first."
    return ["## Scores", "", explained, "", "| layer | score | |", "| --- | --- | --- |", *rows, ""]


def _figure(value: float | None) -> str:
    """Return a figure with three digits, or a dash."""
    return "-" if value is None else f"{value:.3f}"
