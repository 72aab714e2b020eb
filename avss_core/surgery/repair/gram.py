"""Ridge regression from second moments: one streaming pass, then a factorization for each penalty tried."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

PANEL = 512
"""Columns of the Gram matrix computed at a time; the part below the diagonal is mirrored, not computed."""


STRIDE = 8
"""The search for a ridge begins with one of so many."""


class Gram:
    """Centred second moments of inputs h and targets r, in float64; the rows themselves are not kept.

    Holds the count n, the means, inner = sum w (h - mean)(h - mean)^T, cross = sum w (h - mean)(r - mean)^T
    and square = sum w |r - mean|^2, with w the weight of a row and n the sum of the weights. Any split and
    order of the rows gives the same sums to rounding. Memory: features^2 + features x outputs numbers,
    whatever the number of rows.

    Source: Chan, Golub, LeVeque 1983 (merging of centred sums).
    """

    def __init__(self, features: int, outputs: int, device: torch.device | str = "cpu") -> None:
        def zeros(*shape: int) -> Tensor:
            return torch.zeros(shape, dtype=torch.float64, device=device)

        self.count = 0.0
        self.mean_input: Float[Tensor, " features"] = zeros(features)
        self.mean_target: Float[Tensor, " outputs"] = zeros(outputs)
        self.inner: Float[Tensor, "features features"] = zeros(features, features)
        self.cross: Float[Tensor, "features outputs"] = zeros(features, outputs)
        self.square = 0.0

    def add(
        self,
        inputs: Float[Tensor, "rows features"],
        targets: Float[Tensor, "rows outputs"],
        weights: Float[Tensor, " rows"] | None = None,
    ) -> None:
        """Count rows in, each with its weight (> 0; None for 1), upcast to float64 before the first sum."""
        if len(inputs) == 0:
            return
        device = self.inner.device
        rows, wanted = (side.to(device).to(torch.float64) for side in (inputs, targets))
        shares = torch.ones_like(rows[:, 0]) if weights is None else weights.to(device).to(torch.float64)
        part = Gram(0, 0)
        part.count = float(shares.sum())
        part.mean_input, part.mean_target = (shares @ side / part.count for side in (rows, wanted))
        root = shares.sqrt().unsqueeze(1)
        rows, wanted = (rows - part.mean_input) * root, (wanted - part.mean_target) * root
        self._shift(part)
        for start in range(0, rows.shape[1], PANEL):
            stop = start + PANEL
            self.inner[start:stop, start:] += rows[:, start:stop].T @ rows[:, start:]
        for start in range(PANEL, rows.shape[1], PANEL):
            self.inner[start:, :start] = self.inner[:start, start:].T
        self.cross.addmm_(rows.T, wanted)
        self.square += float(wanted.square().sum())

    def merge(self, other: "Gram") -> None:
        """Count another set of rows in."""
        if other.count:
            self._shift(other)
            self.inner += other.inner
            self.cross += other.cross
            self.square += other.square

    def raw(self) -> tuple[Float[Tensor, "features features"], Float[Tensor, "features outputs"], float]:
        """Return sum h h^T, sum h r^T and sum |r|^2, about zero instead of the means."""
        inner = torch.addr(self.inner, self.mean_input, self.mean_input, alpha=self.count)
        cross = torch.addr(self.cross, self.mean_input, self.mean_target, alpha=self.count)
        return inner, cross, self.square + self.count * float(self.mean_target.square().sum())

    def is_finite(self) -> bool:
        """Tell whether every sum is a finite number."""
        return bool(self.inner.isfinite().all() and self.cross.isfinite().all())

    def _shift(self, other: "Gram") -> None:
        """Take over another part's count and means, and what their distance adds to the centred sums."""
        total = self.count + other.count
        inputs, targets = other.mean_input - self.mean_input, other.mean_target - self.mean_target
        weight = self.count * other.count / total
        self.inner.addr_(inputs, inputs, alpha=weight)
        self.cross.addr_(inputs, targets, alpha=weight)
        self.square += weight * float(targets.square().sum())
        self.mean_input = self.mean_input + inputs * (other.count / total)
        self.mean_target = self.mean_target + targets * (other.count / total)
        self.count = total


@dataclass(frozen=True)
class Ridge:
    """Solution of a ridge regression, float64: r is estimated by h @ weight + bias."""

    weight: Float[Tensor, "features outputs"]
    bias: Float[Tensor, " outputs"] | None


def solve(gram: Gram, ridge: float, *, intercept: bool = False) -> Ridge:
    """Return the weights that minimise sum w |h W + b - r|^2 + ridge * n * s * |W|^2.

    n is the sum of the rows' weights and s the mean square of an input (its variance with an intercept), so
    that the penalty does not depend on how many rows there are nor on the unit of the inputs. b is not
    penalised.

    Args:
        gram: of at least one row.
        ridge: penalty (dimensionless, > 0).
        intercept: whether there is a b; else it is zero.

    Raises:
        ValueError: the gram is empty, or the ridge is not positive.
    """
    check_ridges([ridge])
    inner, cross, _ = _sums(gram, intercept)
    penalty = ridge * gram.count * _scale(inner, gram.count)
    weight = _damped_weight(inner.clone() if intercept else inner, cross, penalty)
    return Ridge(weight, gram.mean_target - gram.mean_input @ weight if intercept else None)


def best_ridge(
    fitted: Gram, held_out: Gram, ridges: Sequence[float], *, intercept: bool = False
) -> tuple[float | None, float]:
    """Return the ridge of least error on held-out rows, and that error: sum w |h W + b - r|^2 / sum w |r|^2.

    An error of 1 is that of no change; where the held-out targets are all zero there is nothing to explain,
    and the result is None and 1.

    Each ridge that is tried costs a Cholesky factorization. Tried are every eighth of the ascending ridges,
    then the neighbours of the best one at half the distance, and so on.

    Our reading: along the ridges the error falls, as variance does, and then rises, as bias does. Where it
    turns more than once the result is the best of its neighbours.

    Args:
        fitted: of the rows that W is fitted to.
        held_out: of the rows whose error is measured.
        ridges: as of `solve`, at least one.
        intercept: as of `solve`.

    Raises:
        ValueError: a gram is empty, or a ridge is not positive.
    """
    check_ridges(ridges)
    order = sorted(ridges)
    error_at = _held_out_error(fitted, held_out, intercept)
    if error_at is None:
        return None, 1.0
    known: dict[int, float] = {}
    step, tried = STRIDE, set(range(0, len(order), STRIDE)) | {len(order) - 1}
    while step:
        for index in sorted(tried - known.keys()):
            known[index] = error_at(order[index])
        best = min(known, key=lambda index: (known[index], index))
        step //= 2
        tried = {index for index in (best - step, best + step) if 0 <= index < len(order)}
    return order[best], known[best]


def _held_out_error(fitted: Gram, held_out: Gram, intercept: bool) -> Callable[[float], float] | None:
    """Return what gives the error at a ridge; None where the held-out targets are all zero."""
    inner, cross, _ = _sums(fitted, intercept)
    total = _sums(held_out, intercept=False)[2]
    if total == 0:
        return None
    # With an intercept the held-out rows are seen from the means of the fitted ones, where b is 0.
    ahead, wanted, unexplained = held_out.raw() if not intercept else _seen_from(held_out, fitted)
    scale = _scale(inner, fitted.count) * fitted.count

    def error_at(ridge: float) -> float:
        weight = _damped_weight(inner.clone(), cross, ridge * scale)
        explained = float((weight * (ahead @ weight - 2 * wanted)).sum())
        return (unexplained + explained) / total

    return error_at


def _damped_weight(inner: Tensor, cross: Tensor, penalty: float) -> Tensor:
    """Return (inner + penalty)^-1 cross; the penalty is added to inner in place."""
    inner.diagonal().add_(penalty)
    return torch.cholesky_solve(cross, torch.linalg.cholesky(inner))


def _seen_from(gram: Gram, origin: Gram) -> tuple[Tensor, Tensor, float]:
    """Return the sums of a gram's rows about the means of another gram."""
    inputs, targets = gram.mean_input - origin.mean_input, gram.mean_target - origin.mean_target
    return (
        torch.addr(gram.inner, inputs, inputs, alpha=gram.count),
        torch.addr(gram.cross, inputs, targets, alpha=gram.count),
        gram.square + gram.count * float(targets.square().sum()),
    )


def _sums(gram: Gram, intercept: bool) -> tuple[Tensor, Tensor, float]:
    """Return the sums that the normal equations are made of.

    Raises:
        ValueError: the gram is empty.
    """
    if gram.count == 0:
        raise ValueError("there is no token to fit to; give calibration text")
    return (gram.inner, gram.cross, gram.square) if intercept else gram.raw()


def _scale(inner: Float[Tensor, "features features"], count: float) -> float:
    """Return the mean square of an input; the smallest normal number where all inputs are zero."""
    return max(float(inner.diagonal().mean()) / count, torch.finfo(torch.float64).tiny)


def check_ridges(ridges: Sequence[float]) -> None:
    """Return nothing where there are ridges, all positive numbers.

    Raises:
        ValueError: there is none, or one is not positive.
    """
    if not ridges:
        raise ValueError("there is no ridge to choose from")
    for ridge in ridges:
        if not 0 < ridge < float("inf"):
            raise ValueError(f"ridge {ridge} is not a positive number")
