"""EAVSS: which layers behave differently on hallucinated answers. The formulas are our reading."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from torch import Tensor

from avss_core.hallucination.samples import SampleActivations
from avss_core.registry import READING_NAMES, lookup, require_declared

Weights = Float[Tensor, "*draws pairs"]
"""How often each pair of answers counts: once each, or a row for each draw of a bootstrap."""


def variance_over_sparsity(
    samples: SampleActivations, weights: Weights | None = None
) -> Float[Tensor, "*draws layers"]:
    """Return AVSS over the answer tokens of some samples: pooled variance over the share of small values.

    Source: Song et al. 2024, arXiv 2411.10069 names HSAV and HSS without formulas. Our reading: the variance
    and the share of |a| below the threshold, both over the answers' tokens (no small value counts as half a
    value).

    Example:
        >>> numbers = torch.tensor([[2.0], [8.0], [1.0]], dtype=torch.float64)  # mean, centred squares, small
        >>> count, pooled = torch.tensor([4.0], dtype=torch.float64), torch.zeros(1, 1, 2)
        >>> mean, centred, below = numbers.unsqueeze(1)
        >>> samples = SampleActivations(("a",), torch.tensor([True]), pooled, count, mean, centred, below)
        >>> variance_over_sparsity(samples).tolist()  # (8 / 4) / (1 / 4)
        [8.0]
    """
    weights = _once_each(samples) if weights is None else weights
    count = samples.count.unsqueeze(1)
    # Moments about a point near every draw's mean, so that the subtracted square stays small.
    shift = samples.mean - (count * samples.mean).sum(0) / count.sum()
    total = weights @ count
    mean = weights @ (count * shift) / total
    variance = weights @ (samples.centred + count * shift.square()) / total - mean.square()
    share = (weights @ samples.below).clamp(min=0.5) / total
    return variance.clamp(min=0) / share


def eavss(
    hallucinated: SampleActivations, truthful: SampleActivations, weights: Weights | None = None
) -> Float[Tensor, "*draws layers"]:
    """Return HSAV / HSS of each layer over hallucinated answers, as shares of their sum (sums to 1)."""
    scores = variance_over_sparsity(hallucinated, weights)
    return scores / scores.sum(-1, keepdim=True)


def eavss_contrast(
    hallucinated: SampleActivations, truthful: SampleActivations, weights: Weights | None = None
) -> Float[Tensor, "*draws layers"]:
    """Return log of the hallucinated score minus log of the truthful score (nats; > 0 means prone).

    Our reading: a layer is prone to hallucination if its score rises on hallucinated answers; the ratio
    cancels the effect of depth, width and scale on either score.
    """
    tiny = torch.finfo(torch.float64).tiny
    above, below = (variance_over_sparsity(side, weights) for side in (hallucinated, truthful))
    return above.clamp(min=tiny).log() - below.clamp(min=tiny).log()


def eavss_paired(
    hallucinated: SampleActivations, truthful: SampleActivations, weights: Weights | None = None
) -> Float[Tensor, "*draws layers"]:
    """Return the variance of the paired difference of pooled activations over their pooled variance.

    Row i of both is the same question. Dimensionless; 2 for unrelated answers, 0 for equal ones.
    """
    weights = _once_each(hallucinated) if weights is None else weights
    # A layer at a time: float64 copies of all would be four times the dump.
    layers = zip(hallucinated.pooled.unbind(1), truthful.pooled.unbind(1), strict=True)
    return torch.stack([_paired(wrong.double(), right.double(), weights) for wrong, right in layers], -1)


def _paired(
    first: Float[Tensor, "pairs hidden"], second: Float[Tensor, "pairs hidden"], weights: Weights
) -> Float[Tensor, "*draws"]:
    """Return `eavss_paired` of one layer, from norms and means instead of every unit's variance."""
    total = weights.sum(-1)
    centre = (first.mean(0) + second.mean(0)) / 2
    first, second = first - centre, second - centre
    means = [weights @ side / total.unsqueeze(-1) for side in (first, second)]
    apart = (means[0] - means[1]).square().sum(-1)
    squares = [weights @ values.square().sum(-1) / total for values in (first, second, first - second)]
    within = (squares[0] + squares[1] - sum(mean.square().sum(-1) for mean in means)) / 2
    pooled = (within + apart / 4).clamp(min=torch.finfo(torch.float64).tiny)
    return (squares[2] - apart).clamp(min=0) / pooled


def _once_each(samples: SampleActivations) -> Weights:
    """Return weights of 1."""
    return torch.ones(len(samples.ids), dtype=torch.float64)


@dataclass(frozen=True)
class Reading:
    """One reading of EAVSS; the highest layers are the most prone."""

    function: Callable[..., Float[Tensor, "*draws layers"]]
    """Takes hallucinated answers, truthful ones row by row, and how often each pair counts (None: once)."""
    reference: str


READINGS: dict[str, Reading] = {
    "eavss": Reading(eavss, "HSAV/HSS normalised by the sum; our reading of 2411.10069"),
    "eavss_contrast": Reading(
        eavss_contrast, "log(HSAV/HSS), hallucinated minus truthful answers; our reading"
    ),
    "eavss_paired": Reading(eavss_paired, "Var(paired difference) / pooled Var; our reading"),
}
require_declared(READINGS, READING_NAMES, "READINGS")


def find_reading(name: str) -> Reading:
    """Return an EAVSS reading.

    Raises:
        LookupError: no reading has that name (gives near matches).
    """
    return lookup(READINGS, name, "EAVSS reading")


@dataclass(frozen=True)
class Localization:
    """An EAVSS reading of each layer with its 95 % interval over questions; high values are prone."""

    values: Float[Tensor, " layers"]
    draws: Float[Tensor, "resamples layers"]
    """The reading on each resample of the questions."""

    @property
    def low(self) -> Float[Tensor, " layers"]:
        """Low end of the interval."""
        return self.draws.quantile(0.025, dim=0)

    @property
    def high(self) -> Float[Tensor, " layers"]:
        """High end of the interval."""
        return self.draws.quantile(0.975, dim=0)

    @property
    def order(self) -> list[int]:
        """Layers from the most prone one; equal values stay in depth order."""
        layers: list[int] = self.values.argsort(descending=True, stable=True).tolist()
        return layers


def mean_over_sets(sets: Sequence[Localization]) -> Localization:
    """Return the mean of a reading over question sets, all of equal weight.

    Our reading: answers of one set are alike in length and form, those of two sets are not. Pooled token by
    token, the set with the longest answers would decide, and wrong answers that are longer than the accepted
    ones in one set would look like a property of the layers.

    Raises:
        ValueError: there is no set.
    """
    if not sets:
        raise ValueError("there is no question set to take the mean of")
    return Localization(
        torch.stack([each.values for each in sets]).mean(0),
        torch.stack([each.draws for each in sets]).mean(0),
    )


def localize(
    hallucinated: SampleActivations,
    truthful: SampleActivations,
    reading: str,
    *,
    questions: Sequence[str] | None = None,
    seed: int,
    resamples: int = 200,
) -> Localization:
    """Return a reading with a percentile bootstrap over questions.

    Args:
        hallucinated: wrong answers.
        truthful: an accepted answer to the same question each, row by row.
        reading: a key of `READINGS`.
        questions: the question of each pair; pairs of one question are drawn together. None: all differ.
        seed: seed of the resampling.
        resamples: number of draws of the questions, with replacement.

    Raises:
        ValueError: there are fewer than two questions, or the rows do not pair.
        LookupError: the reading is unknown.
    """
    function = find_reading(reading).function
    asked = list(hallucinated.ids if questions is None else questions)
    if len(set(asked)) < 2 or not len(asked) == len(hallucinated.ids) == len(truthful.ids):
        raise ValueError(
            f"localizing needs at least 2 questions with both kinds of answer, got {len(hallucinated.ids)} "
            f"hallucinated and {len(truthful.ids)} truthful ones of {len(set(asked))} questions"
        )
    draws = function(hallucinated, truthful, question_weights(asked, seed, resamples))
    return Localization(function(hallucinated, truthful), draws)


def question_weights(questions: Sequence[str], seed: int, resamples: int) -> Float[Tensor, "draws pairs"]:
    """Return how often each resample holds each pair: as often as it drew the pair's question."""
    known = {question: number for number, question in enumerate(dict.fromkeys(questions))}
    generator = torch.Generator().manual_seed(seed)
    drawn = torch.randint(len(known), (resamples, len(known)), generator=generator)
    often = torch.zeros(resamples, len(known), dtype=torch.float64)
    often.scatter_add_(1, drawn, torch.ones_like(often))
    return often[:, [known[question] for question in questions]]


def probe_auroc(train: SampleActivations, validation: SampleActivations) -> Float[Tensor, " layers"]:
    """Return the validation AUROC of a linear probe for hallucination at each layer (0.5 is chance).

    The probe is a logistic regression on the standardised pooled activations, fitted on other questions.

    Raises:
        ValueError: one kind of answer is missing in `train` or `validation`.
    """
    for name, part in (("train", train), ("validation", validation)):
        if not 0 < int(part.hallucinated.sum()) < len(part.ids):
            raise ValueError(f"the {name} part of the probe needs truthful and hallucinated answers")
    labels, targets = train.hallucinated.numpy(), validation.hallucinated.numpy()
    scores = []
    for layer in range(train.pooled.shape[1]):
        probe = make_pipeline(StandardScaler(), LogisticRegression(C=0.01, max_iter=1000))
        probe.fit(train.pooled[:, layer].double().numpy(), labels)
        decisions = probe.decision_function(validation.pooled[:, layer].double().numpy())
        scores.append(float(roc_auc_score(targets, decisions)))
    return torch.tensor(scores, dtype=torch.float64)
