"""The sections of params.yaml, one a stage: the keys, the values that they may have, and the defaults."""

from typing import Annotated, Literal

from pydantic import Field, ValidationInfo, field_validator

from avss_core.registry import CHEAPEST, CONTROL_NAMES, READING_NAMES, SCORE_SITES
from avss_core.settings.fields import (
    AUTO,
    Batch,
    Count,
    Distinct,
    JudgeName,
    Layers,
    Natural,
    Positive,
    Section,
    Several,
    Share,
    Site,
    Text,
    Weight,
    one_of,
)


class Collect(Section):
    """What is measured of the activations."""

    tokens: Several = 8192
    set_tokens: Several = 1024
    window: Several = 512
    batch_size: Batch = 4
    parts: Count = 8
    skip_first: bool = True
    sites: Annotated[list[Site], Field(min_length=1), Distinct] = ["output", "update"]
    threshold: Positive = 1e-5
    relative_threshold: Positive = 0.1
    answers: Several = 40
    answers_from: Literal["supplied", "generated", "both"] = "supplied"
    samples: Count = 4
    temperature: Positive = 1.0
    judge: JudgeName = "default"
    dump_site: Site = "update"


class ScoreSection(Section):
    """The score that prunes, and those it is compared with."""

    name: Annotated[str, one_of(SCORE_SITES, "score", CHEAPEST)] = "cheapest"
    compare: Annotated[list[str], one_of(SCORE_SITES, "score")] = [
        "avss",
        "avss_input",
        "avss_output",
        "avss_authors",
        "relative_variance",
        "block_influence",
        "angular",
        "relative_magnitude",
        "repairability",
        "last_n",
        "random",
        "traversal",
    ]
    random_draws: Count = 2
    cost_tokens: Several = 2048
    repair_tokens: Natural = 1024
    traversal_tokens: Several = 1280
    traversal_window: Count = 256
    traversal_context: Natural = 256
    resamples: Count = 100

    @property
    def measured(self) -> list[str]:
        """The scores that a run measures: the one that prunes first, or those that are compared."""
        return list(dict.fromkeys([*([] if self.name == CHEAPEST else [self.name]), *self.compare]))

    @field_validator("repair_tokens")
    @classmethod
    def _enough_to_fit(cls, value: int) -> int:
        if value == 1:
            raise ValueError("nothing can be fitted to one token: give 0 for no repair, or more")
        return value


class Prune(Section):
    """How many layers are removed, or which."""

    ratio: Share = 0.25
    layers: Layers | None = None
    protect_first: Natural = 0
    protect_last: Natural = 0


class Shares(Section):
    """Shares of the tokens that are learnt from; only their ratios count."""

    text: Weight
    own_text: Weight
    questions: Weight
    reviews: Weight

    @field_validator("reviews")
    @classmethod
    def _some_share(cls, value: float, info: ValidationInfo) -> float:
        if not value and not any(info.data.get(kind, 1) for kind in ("text", "own_text", "questions")):
            raise ValueError("the shares text, own_text, questions and reviews are all 0: raise one of them")
        return value

    def text_of(self, tokens: int) -> int:
        """Return how many of so many tokens are text."""
        return round(tokens * self.text / (self.text + self.own_text + self.questions + self.reviews))


class Repair(Shares):
    """How the pruned model is refitted towards the dense one in closed form."""

    enabled: bool = True
    text: Weight = 0.5
    own_text: Weight = 0.0
    questions: Weight = 0.4
    reviews: Weight = 0.1
    tokens: Several = 16384
    window: Several = 256
    batch_size: Batch = 8
    attention: bool = True
    anticipation: Weight = 0.0

    @field_validator("anticipation")
    @classmethod
    def _share_of_a_gap(cls, value: float) -> float:
        if value > 1:
            raise ValueError("it is a share of a gap, from 0 to 1")
        return value

    @property
    def text_tokens(self) -> int:
        """Tokens of text to fit to; 0 if repair is switched off."""
        return self.text_of(self.tokens) if self.enabled else 0


class Speed(Section):
    """How the dense and the pruned model are timed."""

    enabled: bool = True
    prompt_tokens: Count = 1024
    new_tokens: Count = 32
    batch_sizes: Annotated[list[Count], Field(min_length=1), Distinct] = [1, 8]
    rounds: Count = 2


class Evaluate(Section):
    """How models are compared."""

    shots: Natural = 5
    limit: Count | None = 50
    shard: Count = 256
    chat: bool = False
    max_new_tokens: Count = 16
    batch_size: Batch = 32
    scored_answers: Natural = 4
    layer_questions: Natural = 6
    layer_step: Count = 3
    judge: JudgeName = "default"
    tokens: Several = 4096
    window: Several = 512
    stride: Count | None = None
    sentiment_shots: Natural = 4
    abstain_at: Annotated[float, Field(ge=0, le=1)] | None = None
    tasks: Annotated[list[Text], Distinct] = []
    task_files: Text | None = None

    @field_validator("stride")
    @classmethod
    def _stride(cls, value: int | None, info: ValidationInfo) -> int | None:
        window = info.data.get("window")
        if value is not None and window is not None and value > window:
            raise ValueError(f"a stride beyond the window of {window} tokens would leave text out")
        return value


class Heal(Shares):
    """How the repaired model learns from the dense one."""

    enabled: bool = True
    text: Weight = 0.5
    own_text: Weight = 0.0
    questions: Weight = 0.5
    reviews: Weight = 0.0
    tokens: Several = 24000
    validation_tokens: Several = 1000
    window: Several = 256
    batch_size: Batch = 1
    accumulate: Count = 1
    epochs: Count = 1
    learning_rate: Positive = 0.001
    rank: Count = 32
    layers: Layers | None = None
    temperature: Positive = 1.0
    answers: Positive = 3.0
    hidden: Weight = 0.0
    top_k: Count | None = None
    validate_every: Count = 16
    patience: Count = 3
    autocast: bool = True

    @field_validator("hidden")
    @classmethod
    def _a_mean_over_a_batch(cls, value: float, info: ValidationInfo) -> float:
        if value and info.data.get("batch_size") == AUTO:
            raise ValueError(f"it is a mean over a batch: give heal.batch_size a number, not {AUTO}")
        return value

    @property
    def text_tokens(self) -> int:
        """Tokens of text to train and validate on; 0 if healing is switched off."""
        return self.text_of(self.tokens + self.validation_tokens) if self.enabled else 0


class Localize(Section):
    """How hallucination-prone layers are found."""

    reading: Annotated[str, one_of(READING_NAMES, "EAVSS reading")] = "eavss_contrast"
    resamples: Count = 200


MITIGATION_TERMS = ("cross_entropy", "alpha", "gamma", "brier")
"""Weights of the terms of the mitigation's loss beside `anchor`, which alone would train nothing."""


class Mitigate(Section):
    """How the prone layers are trained."""

    base: Literal["dense", "pruned", "repaired", "healed"] = "dense"
    layers: Count = 8
    pairs: Count = 32
    epochs: Count = 1
    learning_rate: Positive = 0.0005
    batch_size: Several = 8
    accumulate: Count = 1
    rank: Count = 8
    cross_entropy: Weight = 1.0
    alpha: Weight = 0.5
    beta: Positive = 1.0
    gamma: Weight = 0.1
    temperature: Positive = 0.1
    brier: Weight = 0.0
    anchor: Weight = 0.0
    known: Weight = 1.0
    validate_every: Count | None = None
    patience: Count = 1
    autocast: bool = True
    controls: Annotated[list[str], Distinct, one_of(CONTROL_NAMES, "control")] = []
    random_draws: Count = 3

    @field_validator("anchor")
    @classmethod
    def _some_term(cls, value: float, info: ValidationInfo) -> float:
        if not value and not any(info.data.get(name, 1) for name in MITIGATION_TERMS):
            names = ", ".join(MITIGATION_TERMS)
            raise ValueError(f"the weights {names} and anchor are all 0: raise one of them")
        return value


class Gates(Section):
    """The least that a model must keep of its accuracy; less fails the run."""

    min_retention: Share | None = None
