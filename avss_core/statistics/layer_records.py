"""Statistics of layers as JSON holds them: what `record` methods return and `from_record` restores."""

from typing import TypedDict


class MomentsRecord(TypedDict):
    """Row count, mean and centred sum of squares of each feature."""

    count: int
    mean: list[float]
    centred: list[float]


class SiteRecord(TypedDict):
    """Statistics of one layer at one site."""

    values: MomentsRecord
    tokens: MomentsRecord
    below_absolute: int
    below_input: int
    below_output: int


class LayerRecord(TypedDict):
    """Statistics of one layer."""

    block: MomentsRecord
    sites: dict[str, SiteRecord]
    published: list[list[float]]


class StatisticsPart(TypedDict):
    """Statistics of one part of a text; `layers` is empty where the part has no tokens."""

    tokens: int
    layers: list[LayerRecord]


class TextStatistics(TypedDict):
    """Statistics of a text by its parts."""

    tokens: int
    parts: list[StatisticsPart]
