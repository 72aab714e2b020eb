"""What repair and healing read: each in its own shares, with the same text left apart."""

import math
from functools import partial
from pathlib import Path

from avss_core.caching.kept_results import Run
from avss_core.jobs.mixture import Mixture, OwnText
from avss_core.jobs.own_text import AT_ONCE, own_text
from avss_core.models.architectures import context_length, reads_both_ways
from avss_core.models.loading import load_config
from avss_core.models.placement import computes_in_bfloat16
from avss_core.settings.params import Params
from avss_core.settings.sections import Heal, Repair
from avss_core.training.healing_text import Shares


def mixture(params: Params, options: Repair | Heal) -> Mixture:
    """Return how much of which kind a stage reads; what healing validates on stays apart from both."""
    return Mixture(
        tokens=options.tokens,
        validation_tokens=params.heal.validation_tokens,
        window=options.window,
        shares=Shares(options.text, options.questions, options.reviews, options.own_text),
        scored=params.collect.tokens,
        costs=params.score.cost_tokens,
        held_out=params.data.validation,
        chat=params.evaluate.chat,
        seed=params.seed,
    )


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
