"""EAVSS: which layers behave differently on hallucinated answers; the formulas are our reading."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from torch import Tensor

from avss_core.registry import lookup
from avss_core.samples import SampleActivations


def variance_over_sparsity(samples: SampleActivations) -> Float[Tensor, " layers"]:
    """Return AVSS over all answer tokens of some samples: pooled variance over the share of small values.

    Source: Song et al. 2024, arXiv 2411.10069 names HSAV and HSS without formulas. Our reading: the variance
    and the share of |a| below the threshold over the tokens of the answers (none counts as half a value).
    """
    count = samples.count.unsqueeze(1)
    total = count.sum()
    mean = (count * samples.mean).sum(0) / total
    centred = (samples.centred + count * (samples.mean - mean).square()).sum(0)
    share = samples.below.sum(0).clamp(min=0.5) / total
    return (centred / total) / share


def eavss(hallucinated: SampleActivations, truthful: SampleActivations) -> Float[Tensor, " layers"]:
    """Return HSAV / HSS of each layer over hallucinated answers, as shares of their sum (sums to 1)."""
    scores = variance_over_sparsity(hallucinated)
    return scores / scores.sum()


def eavss_contrast(hallucinated: SampleActivations, truthful: SampleActivations) -> Float[Tensor, " layers"]:
    """Return log of the hallucinated score minus log of the truthful score (nats; > 0 means prone).

    Our reading: a layer is prone to hallucination where its score rises on hallucinated answers; the ratio
    cancels what depth, width and scale do to either score alone.
    """
    tiny = torch.finfo(torch.float64).tiny
    above, below = variance_over_sparsity(hallucinated), variance_over_sparsity(truthful)
    return above.clamp(min=tiny).log() - below.clamp(min=tiny).log()


def eavss_paired(hallucinated: SampleActivations, truthful: SampleActivations) -> Float[Tensor, " layers"]:
    """Return the variance of the paired difference of pooled activations over their pooled variance.

    Row i of both is the same question. Dimensionless; 2 for unrelated answers, 0 for equal ones.
    """
    # float32 holds the stored float16 exactly, and a resample costs a quarter of what float64 takes.
    first, second = hallucinated.pooled.float(), truthful.pooled.float()
    within = (first.var(0, correction=0) + second.var(0, correction=0)).sum(-1).double() / 2
    between = (first.mean(0) - second.mean(0)).square().sum(-1).double() / 4
    difference = (first - second).var(0, correction=0).sum(-1).double()
    return difference / (within + between).clamp(min=torch.finfo(torch.float64).tiny)


@dataclass(frozen=True)
class Reading:
    """One reading of EAVSS; the highest layers are the most prone."""

    function: Callable[[SampleActivations, SampleActivations], Float[Tensor, " layers"]]
    reference: str
    vectors: bool = False
    """Whether it reads the pooled vectors; the others need only the moments."""


READINGS: Mapping[str, Reading] = {
    "eavss": Reading(eavss, "HSAV/HSS normalised by the sum; our reading of 2411.10069"),
    "eavss_contrast": Reading(
        eavss_contrast, "log(HSAV/HSS), hallucinated minus truthful answers; our reading"
    ),
    "eavss_paired": Reading(eavss_paired, "Var(paired difference) / pooled Var; our reading", vectors=True),
}


def find_reading(name: str) -> Reading:
    """Return the record of an EAVSS reading.

    Raises:
        LookupError: no reading has that name; near matches are given.
    """
    return lookup(READINGS, name, "EAVSS reading")


@dataclass(frozen=True)
class Localisation:
    """An EAVSS reading of each layer with its 95 % interval over questions."""

    values: Float[Tensor, " layers"]
    low: Float[Tensor, " layers"]
    high: Float[Tensor, " layers"]


def localise(
    hallucinated: SampleActivations,
    truthful: SampleActivations,
    reading: str,
    *,
    seed: int,
    resamples: int = 200,
) -> Localisation:
    """Return a reading with a percentile bootstrap over questions.

    Args:
        hallucinated: one wrong answer a question.
        truthful: the accepted answer to the same question, row by row.
        reading: a key of `READINGS`.
        seed: of the resampling.
        resamples: draws of the questions with replacement.

    Raises:
        ValueError: there are fewer than two questions, or the rows do not pair.
        LookupError: the reading is unknown.
    """
    function = find_reading(reading).function
    count = len(hallucinated.ids)
    if count < 2 or count != len(truthful.ids):
        raise ValueError(
            f"localising needs at least 2 questions with both kinds of answer, got {count} hallucinated "
            f"and {len(truthful.ids)} truthful ones"
        )
    value = function(hallucinated, truthful)
    if not find_reading(reading).vectors:
        # Copying the vectors for each resample would take nearly all of its time.
        hallucinated, truthful = hallucinated.without_vectors(), truthful.without_vectors()
    generator = torch.Generator().manual_seed(seed)
    draws = []
    for _ in range(resamples):
        rows: Int[Tensor, " questions"] = torch.randint(count, (count,), generator=generator)
        draws.append(function(hallucinated.select(rows), truthful.select(rows)))
    low, high = torch.stack(draws).quantile(torch.tensor([0.025, 0.975], dtype=torch.float64), dim=0)
    return Localisation(value, low, high)


def probe_auroc(train: SampleActivations, validation: SampleActivations) -> Float[Tensor, " layers"]:
    """Return the validation AUROC of a linear probe for hallucination at each layer (0.5 is chance).

    A logistic regression on the standardised pooled activations, measured on other questions than it is
    fitted on.

    Raises:
        ValueError: one kind of answer is missing on either side.
    """
    for name, part in (("train", train), ("validation", validation)):
        if not 0 < int(part.hallucinated.sum()) < len(part.ids):
            raise ValueError(f"the {name} part of the probe needs truthful and hallucinated answers")
    labels, targets = train.hallucinated.numpy(), validation.hallucinated.numpy()
    scores = []
    for layer in range(train.pooled.shape[1]):
        probe = make_pipeline(StandardScaler(), LogisticRegression(C=0.01, max_iter=1000))
        probe.fit(train.pooled[:, layer].double().numpy(), labels)
        found = probe.decision_function(validation.pooled[:, layer].double().numpy())
        scores.append(float(roc_auc_score(targets, found)))
    return torch.tensor(scores, dtype=torch.float64)
