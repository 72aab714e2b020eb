"""Text that the dense model writes for repair and healing to read, in cached units."""

import math
import random
from functools import partial
from pathlib import Path

from avss_core.caching.kept_results import Run
from avss_core.caching.loaded_model import model_at
from avss_core.caching.unit import unit
from avss_core.data.rows import read_documents
from avss_core.display.steps import working
from avss_core.jobs.mixture import OwnText
from avss_core.jobs.mixture_settings import mixture
from avss_core.models.architectures import context_length, reads_both_ways
from avss_core.models.batches import token_stream
from avss_core.models.encoding import opening_tokens
from avss_core.models.loading import load_config
from avss_core.models.placement import computes_in_bfloat16
from avss_core.settings.params import Params
from avss_core.settings.sections import Heal, Repair
from avss_core.training.own_text import drawn_text

AT_ONCE = 64
"""Windows that are written at a time, and kept together."""

BEGINNINGS = 4096
"""Tokens of the calibration text among which the first one of each window is drawn."""


@unit("own-text")
def own_text(
    model: Path, text: Path, *, dtype: str, device: str, window: int, part: int, seed: int
) -> list[list[int]]:
    """Return `AT_ONCE` windows of token ids that a model draws.

    Args:
        model: a checkpoint folder.
        text: documents; each window begins with a token of theirs, behind those that the tokenizer puts in
            front of every text.
        dtype: of the model.
        device: of the model.
        window: tokens a window.
        part: which windows of all.
        seed: of the draws.
    """
    network, tokenizer = model_at(model, dtype, device)
    first = token_stream(tokenizer, read_documents(text), BEGINNINGS)
    chosen = random.Random(f"{seed} {part}").choices(first, k=AT_ONCE)
    opening = tuple(opening_tokens(tokenizer))
    with working(f"the dense model writes {AT_ONCE * window:,} tokens"):
        written = drawn_text(network, [(*opening, token) for token in chosen], window, seed + part)
    return [list(ids) for ids in written]


def own_windows(params: Params, options: Repair | Heal, dense: Path, prepared: Path, run: Run) -> OwnText:
    """Return what the dense model writes for a stage; nothing if its share is 0 or the model is an encoder.

    The first windows validate the healing, and no stage learns from them.

    Args:
        params: all of them.
        options: of the stage.
        dense: folder of the dense model.
        prepared: folder of the prepared text.
        run: runs the units, and keeps what they return.
    """
    config = load_config(str(dense))
    if not options.own_text or reads_both_ways(config):
        return OwnText()
    window = min(options.window, context_length(config) or options.window)
    wanted = mixture(params, options).shares.of(options.tokens)["own_text"]
    held = math.ceil(params.heal.validation_tokens / params.heal.window)
    windows = held + math.ceil(wanted / window)
    machine = params.machine
    if machine["dtype"] == "float32" and computes_in_bfloat16(machine["device"]):
        machine |= {"dtype": "bfloat16"}
    units = [
        partial(
            own_text,
            dense,
            prepared / "text" / "calibration.json",
            **machine,
            window=window,
            part=part,
            seed=params.seed,
        )
        for part in range(math.ceil(windows / AT_ONCE))
    ]
    written = [tuple(ids) for part in run(units, "text of the dense model") for ids in part]
    return OwnText(tuple(written[:held]), tuple(written[held:windows]))
