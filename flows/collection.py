"""Measure the layers on one text, in parts that are cached units: for the stage collect and for commands."""

from pathlib import Path
from typing import Any

from flows.params import Params
from tasks.collect import text_statistics


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
