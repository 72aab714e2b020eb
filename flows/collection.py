"""Measure layers on texts and on answers: for the stage collect and for commands."""

from pathlib import Path
from typing import Any

from flows.params import Params
from tasks.collect import dump_activations, text_statistics


def collect_text(params: Params, model: Path, source: Path, tokens: int) -> dict[str, Any]:
    """Return the statistics of a text by its parts: a killed collection goes on where it stopped.

    Raises:
        ValueError: the text has no token to count.
    """
    options = params.collect
    parts = [
        text_statistics(
            model,
            source,
            dtype=params.model.dtype,
            device=params.model.device,
            tokens=tokens,
            window=options.window,
            batch_size=options.batch_size,
            skip_first=options.skip_first,
            sites=options.sites,
            absolute=options.threshold,
            relative=options.relative_threshold,
            part=part,
            parts=options.parts,
        )
        for part in range(options.parts)
    ]
    known = [part for part in parts if part["tokens"]]
    if not known:
        raise ValueError(f"{source}: no activation was counted; give text of two tokens or more")
    return {"tokens": sum(part["tokens"] for part in known), "parts": known}


def dump_answers(params: Params, model: Path, prepared: Path, folder: Path) -> dict[str, Any]:
    """Write the activation dump of a model into a folder, and return what is in it."""
    found: dict[str, Any] = dump_activations(
        model,
        prepared,
        params.data.sets,
        dtype=params.model.dtype,
        device=params.model.device,
        site=params.collect.dump_site,
        relative=params.collect.relative_threshold,
        questions=params.collect.answers,
        folder=folder,
    )
    return found
