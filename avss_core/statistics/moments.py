"""Mean and variance in one pass: frozen values that merge to the same result for any split of the rows."""

import math
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from avss_core.statistics.layer_records import MomentsRecord


@dataclass(frozen=True)
class Moments:
    """Row count, mean and centred second moment of each feature, in float64.

    Source: Chan, Golub, LeVeque 1983 (merging of centred sums).
    """

    count: int
    mean: Float[Tensor, " features"]
    centred: Float[Tensor, " features"]

    @classmethod
    def empty(cls, features: int = 1) -> "Moments":
        """Return the identity of `merge`."""
        zeros = torch.zeros(features, dtype=torch.float64)
        return cls(0, zeros, zeros.clone())

    @classmethod
    def of(cls, rows: Float[Tensor, "rows features"]) -> "Moments":
        """Return the moments of rows, upcast to float64 before the first sum."""
        if len(rows) == 0:
            return cls.empty(rows.shape[1])
        exact = rows.to(torch.float64)
        mean = exact.mean(0)
        return cls(len(rows), mean.cpu(), (exact - mean).square().sum(0).cpu())

    @classmethod
    def of_groups(
        cls, size: int, means: Float[Tensor, " groups"], centred: Float[Tensor, " groups"]
    ) -> "Moments":
        """Return the moments of all values of groups of one size (one feature).

        Args:
            size: values a group.
            means: of each group, float64.
            centred: sum of squares around each group's own mean, float64.
        """
        if len(means) == 0:
            return cls.empty()
        mean = means.mean(0, keepdim=True)
        spread = centred.sum(0, keepdim=True) + size * (means - mean).square().sum(0, keepdim=True)
        return cls(size * len(means), mean.cpu(), spread.cpu())

    def merge(self, other: "Moments") -> "Moments":
        """Return the moments of both sets of rows together.

        Example:
            >>> import torch
            >>> left, right = Moments.of(torch.tensor([[1.0], [3.0]])), Moments.of(torch.tensor([[8.0]]))
            >>> whole = left.merge(right)
            >>> whole.mean.item(), whole.variance(ddof=1).item()
            (4.0, 13.0)
        """
        count = self.count + other.count
        if count == 0:
            return self
        delta = other.mean - self.mean
        mean = self.mean + delta * (other.count / count)
        centred = self.centred + other.centred + delta.square() * (self.count * other.count / count)
        return type(self)(count, mean, centred)

    def variance(self, ddof: int = 0) -> Float[Tensor, " features"]:
        """Return the variance of each feature (squared unit of the rows).

        Args:
            ddof: 0 for the population variance, 1 for the unbiased one.

        Returns:
            Float64 on CPU, never negative.

        Raises:
            ValueError: there are not more than `ddof` rows.
        """
        if self.count <= ddof:
            raise ValueError(f"variance with ddof={ddof} needs more than {ddof} rows, got {self.count}")
        return self.centred / (self.count - ddof)

    def standard_error(self) -> Float[Tensor, " features"]:
        """Return the standard error of each mean, rows taken as independent (unit of the rows)."""
        return (self.variance(ddof=1) / self.count).sqrt()

    def is_finite(self) -> bool:
        """Tell whether every mean and centred sum is a finite number."""
        return bool(self.mean.isfinite().all() and self.centred.isfinite().all())

    def record(self) -> MomentsRecord:
        """Return the state as JSON values; `from_record` restores it to the bit."""
        return {"count": self.count, "mean": self.mean.tolist(), "centred": self.centred.tolist()}

    @classmethod
    def from_record(cls, record: MomentsRecord) -> "Moments":
        """Return the moments that `record` wrote."""
        mean = torch.tensor(record["mean"], dtype=torch.float64)
        centred = torch.tensor(record["centred"], dtype=torch.float64)
        return cls(record["count"], mean, centred)


def root_mean_square(moments: Moments) -> float:
    """Return the root mean square over all values of a one-feature `Moments` (unit of the rows)."""
    return math.sqrt(float(moments.variance()[0] + moments.mean[0] ** 2))
