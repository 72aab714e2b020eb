"""What repair and healing read: each in its own shares, with the same text left apart."""

from avss_core.jobs.mixture import Mixture
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
