"""Draw tokens at a temperature: each sequence has its own generator, whatever runs beside it."""

import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor


@dataclass(frozen=True)
class Sampling:
    """How answers to prompts are drawn.

    Raises:
        ValueError: the temperature is not a finite number above 0.
    """

    temperature: float
    """Divides the logits: 1 draws from the model's own distribution, towards 0 the likeliest token wins."""
    seeds: Sequence[int]
    """One for each prompt, such as `draw_seed` gives."""

    def __post_init__(self) -> None:
        """Refuse a temperature that is not positive and finite."""
        if not (self.temperature > 0 and math.isfinite(self.temperature)):
            raise ValueError(f"the temperature is {self.temperature}; sampling needs a number above 0")


class TokenNoise:
    """Noise for sequences: a value for each word of the vocabulary, drawn for each token of a sequence."""

    def __init__(self, temperature: float, seeds: Sequence[int]) -> None:
        """Start the generator of each sequence."""
        self._temperature = temperature
        self._generators = [np.random.default_rng(seed) for seed in seeds]

    def pick(self, logits: Float[Tensor, "rows vocab"], sequences: Sequence[int]) -> Int[Tensor, " rows"]:
        """Return the next token of some sequences, drawn from softmax(logits / temperature).

        The token is argmax(logits + temperature * g) with g = -log(e), e exponential (Gumbel noise), in
        float32 on the CPU. This stays finite however low the temperature.

        Args:
            logits: predict the next token.
            sequences: the sequence of each row.

        Source: Gumbel 1954; Maddison et al. 2014, arXiv 1411.0030, section 3.
        """
        own = (self._generators[sequence] for sequence in sequences)
        drawn = np.stack([generator.standard_exponential(logits.shape[-1]) for generator in own])
        noise = -torch.from_numpy(drawn).log()
        noisy = logits.float().cpu() + (self._temperature * noise).float()
        return noisy.argmax(-1)


def draw_seed(seed: int, question: str, draw: int) -> int:
    """Return the seed of one draw of an answer to a question; it depends on nothing else."""
    return int(hashlib.sha256(f"{seed}:{draw}:{question}".encode()).hexdigest(), 16)
