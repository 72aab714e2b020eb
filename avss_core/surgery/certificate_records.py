"""The certificate of a checkpoint as JSON holds it."""

from typing import NotRequired, TypedDict


class CheckRecord(TypedDict):
    """One check of a checkpoint."""

    name: str
    passed: bool
    detail: str


class Provenance(TypedDict, total=False):
    """Where a checkpoint comes from."""

    model: str
    revision: str | None
    score: str
    """What the removed layers were chosen by."""
    removed: list[int]
    """Numbers of the removed layers in the source."""
    removed_dense: list[int]
    """Their numbers in the dense model; absent if the source is the dense model."""
    dense_parameters: int
    """Parameters of the source."""
    weights: str
    """Digest of the weight files that a run began with."""
    base: str
    """Which checkpoint of a run was trained."""
    teacher: str


class Promise(TypedDict):
    """What a checkpoint must be: the part of its certificate that checks compare with."""

    parameters: int
    bytes: int
    dtype: str
    layer_map: list[int]
    """The dense model's number of each layer."""
    tokenizer: bool
    source_tensors: dict[str, str]
    """Digest of the source tensor that each named tensor must equal."""
    refitted: NotRequired[list[str]]
    """Names of the tensors that repair changed, for a repaired checkpoint: all others equal their source."""
    tensors: dict[str, str]
    """Digest of each stored tensor."""
    logits: list[float] | None
    provenance: Provenance
    way: str
    """How the checkpoint was written, in words."""
    configuration: str
    """Digest of config.json."""
    transformers: NotRequired[str]
    """Oldest version that is known to read the checkpoint as the writer did; absent in older certificates."""


class Certificate(Promise):
    """What a checkpoint promises, and the checks that a fresh process made."""

    checks: list[CheckRecord]
    left_out: list[str]
    """Names of the checks that need the weights in memory and were not made."""
