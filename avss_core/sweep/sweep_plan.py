"""What a sweep does: scores, numbers of layers, and how much text."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from avss_core.sweep.layer_orders import ScoredText

SCORES = ("avss", "block_influence", "angular", "relative_magnitude")
"""The scores that a sweep compares unless it is told which; one pass over the text gives them all."""


@dataclass(frozen=True)
class Plan:
    """What a sweep does."""

    counts: Sequence[int]
    """Numbers of layers to remove, ascending (`avss_core.sweep.counts`)."""
    scores: Sequence[str] = SCORES
    scored: ScoredText = field(default_factory=ScoredText)
    held_out: int = 2048
    """Tokens behind those that are scored, on which losses are measured."""
    window: int = 512
    """Tokens of them that a model reads at a time; intervals are over windows."""
    repair: int = 1024
    """First tokens of the scored text that the small repair is fitted to; 0 for no repair."""
    protect_first: int = 0
    """Leading layers that stay."""
    protect_last: int = 0
    """Trailing layers that stay."""
    seed: int = 0
    """Of the score `random` and of the intervals."""

    @property
    def repair_tokens(self) -> int:
        """Tokens that the repair is fitted to: of the scored text, never of the held-out text."""
        return min(self.repair, self.scored.tokens)
