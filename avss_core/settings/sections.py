"""The sections of params.yaml, one a stage: which keys there are, and which values they may have."""

import importlib.util
from collections.abc import Collection
from typing import Annotated, Literal

from pydantic import Field, ValidationInfo, field_validator

from avss_core.data.pile import SUBSETS
from avss_core.registry import CHEAPEST, CONTROL_NAMES, READING_NAMES, SCORE_SITES
from avss_core.settings.fields import (
    Count,
    Distinct,
    FolderName,
    GitName,
    InData,
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
    require_known,
)

HUB_TEXTS = ("wikitext2", *SUBSETS)
"""The texts of the Hub, by our names."""


def _offered(value: str | None, source: str | None, public: Collection[str], what: str) -> str | None:
    """Return the name of a text or a sentiment set that the source has, or raise."""
    if value is not None and source == "sample":
        raise ValueError(f"the sample has one {what}: leave it null, or set data.source to path or hub")
    if value is not None and source == "hub":
        require_known(value, public, f"{what} of the Hub")
    return value


class Model(Section):
    """The model that is studied."""

    name: Text
    revision: GitName | None
    dtype: Literal["float32", "bfloat16", "float16"]
    device: str


class Data(Section):
    """Where rows and text come from, and how they are split."""

    source: Literal["sample", "path", "hub"]
    path: Text
    text: InData | None
    sentiment: InData | None
    characters: Count
    sets: Annotated[list[FolderName], Field(min_length=1), Distinct]
    validation: Share
    calibration: Share

    @field_validator("text")
    @classmethod
    def _text(cls, value: str | None, info: ValidationInfo) -> str | None:
        return _offered(value, info.data.get("source"), HUB_TEXTS, "text")

    @field_validator("sentiment")
    @classmethod
    def _sentiment(cls, value: str | None, info: ValidationInfo) -> str | None:
        return _offered(value, info.data.get("source"), ["sst2"], "sentiment set")

    @property
    def streamed(self) -> bool:
        """Whether the text is streamed: `characters` says how much of it is read."""
        return self.source == "hub" and self.text in SUBSETS


class Execution(Section):
    """Where units of work run; it changes no number (see `params.UNTRACKED`)."""

    engine: Literal["threads", "dask", "ray"]
    workers: Count
    address: Text | None

    @field_validator("engine")
    @classmethod
    def _installed(cls, value: str) -> str:
        if value != "threads" and importlib.util.find_spec(f"prefect_{value}") is None:
            raise ValueError(
                f"the engine {value} is not installed; pip install -c constraints.txt -e '.[{value}]'"
            )
        return value

    @field_validator("address")
    @classmethod
    def _cluster_address(cls, value: str | None, info: ValidationInfo) -> str | None:
        if value is not None and info.data.get("engine") == "threads":
            raise ValueError("threads have no address: leave it null, or set execution.engine to dask or ray")
        return value


class Collect(Section):
    """What is measured of the activations."""

    tokens: Several
    set_tokens: Several
    window: Several
    batch_size: Count
    parts: Count
    skip_first: bool
    sites: Annotated[list[Site], Field(min_length=1), Distinct]
    threshold: Positive
    relative_threshold: Positive
    answers: Several
    answers_from: Literal["supplied", "generated", "both"]
    samples: Count
    temperature: Positive
    judge: JudgeName
    dump_site: Site


class ScoreSection(Section):
    """The score that prunes, and those it is compared with."""

    name: Annotated[str, one_of(SCORE_SITES, "score", CHEAPEST)]
    compare: Annotated[list[str], one_of(SCORE_SITES, "score")]
    random_draws: Count
    cost_tokens: Several
    repair_tokens: Natural
    traversal_tokens: Several
    traversal_window: Count
    traversal_context: Natural
    resamples: Count

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

    ratio: Share
    layers: Layers | None
    protect_first: Natural
    protect_last: Natural


class Shares(Section):
    """Shares of the tokens that are learnt from; only their ratios count."""

    text: Weight
    questions: Weight
    reviews: Weight

    @field_validator("reviews")
    @classmethod
    def _some_share(cls, value: float, info: ValidationInfo) -> float:
        if not value and not info.data.get("text", 1) and not info.data.get("questions", 1):
            raise ValueError("the shares text, questions and reviews are all 0: raise one of them")
        return value

    def text_of(self, tokens: int) -> int:
        """Return how many of so many tokens are text."""
        return round(tokens * self.text / (self.text + self.questions + self.reviews))


class Repair(Shares):
    """How the pruned model is refitted towards the dense one in closed form."""

    enabled: bool
    tokens: Several
    window: Several
    batch_size: Count
    attention: bool
    anticipation: Weight

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

    enabled: bool
    prompt_tokens: Count
    new_tokens: Count
    batch_sizes: Annotated[list[Count], Field(min_length=1), Distinct]
    rounds: Count


class Evaluate(Section):
    """How models are compared."""

    shots: Natural
    limit: Count | None
    shard: Count
    chat: bool
    max_new_tokens: Count
    batch_size: Count
    scored_answers: Natural
    layer_questions: Natural
    layer_step: Count
    judge: JudgeName
    tokens: Several
    window: Several
    stride: Count | None
    sentiment_shots: Natural

    @field_validator("stride")
    @classmethod
    def _stride(cls, value: int | None, info: ValidationInfo) -> int | None:
        window = info.data.get("window")
        if value is not None and window is not None and value > window:
            raise ValueError(f"a stride beyond the window of {window} tokens would leave text out")
        return value


class Heal(Shares):
    """How the repaired model learns from the dense one."""

    enabled: bool
    tokens: Several
    validation_tokens: Several
    window: Several
    batch_size: Count
    accumulate: Count
    epochs: Count
    learning_rate: Positive
    rank: Count
    layers: Layers | None
    temperature: Positive
    answers: Positive
    labels: Positive
    hidden: Weight
    top_k: Count | None
    validate_every: Count
    patience: Count
    autocast: bool

    @property
    def text_tokens(self) -> int:
        """Tokens of text to train and validate on; 0 if healing is switched off."""
        return self.text_of(self.tokens + self.validation_tokens) if self.enabled else 0


class Localize(Section):
    """How hallucination-prone layers are found."""

    reading: Annotated[str, one_of(READING_NAMES, "EAVSS reading")]
    resamples: Count


class Mitigate(Section):
    """How the prone layers are trained."""

    base: Literal["dense", "pruned", "repaired", "healed"]
    layers: Count
    pairs: Count
    epochs: Count
    learning_rate: Positive
    batch_size: Several
    accumulate: Count
    rank: Count
    cross_entropy: Weight
    alpha: Weight
    beta: Positive
    gamma: Weight
    temperature: Positive
    validate_every: Count | None
    patience: Count
    autocast: bool
    controls: Annotated[list[str], Distinct, one_of(CONTROL_NAMES, "control")]
    random_draws: Count

    @field_validator("gamma")
    @classmethod
    def _some_term(cls, value: float, info: ValidationInfo) -> float:
        if not value and not info.data.get("cross_entropy", 1) and not info.data.get("alpha", 1):
            raise ValueError("the weights cross_entropy, alpha and gamma are all 0: raise one of them")
        return value


class Gates(Section):
    """The least that a model must keep of its accuracy; less fails the run."""

    min_retention: Share | None
