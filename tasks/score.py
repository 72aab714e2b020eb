"""What the choices of each score cost, with intervals, and how a repair changes their order."""

from collections.abc import Mapping

from prefect import task

from avss_core.metrics.comparison import mean_with_interval, paired_means
from avss_core.scores.ranking import kendall_tau
from tasks.records import AfterRepair, ComparedCost, Cost


@task(name="compare-costs")
def compare_costs(costs: Mapping[str, Cost], chosen: str, *, seed: int) -> dict[str, ComparedCost]:
    """Return each cost with its interval over windows, and how far it lies above the chosen reading's."""
    best = costs[chosen]["window_means"]
    return {
        label: {
            "nll": cost["nll"],
            "tokens": cost["tokens"],
            "window_means": cost["window_means"],
            "interval": mean_with_interval(cost["window_means"], seed),
            "over_chosen": paired_means(best, cost["window_means"], seed),
        }
        for label, cost in costs.items()
    }


def compare_repaired(
    costs: Mapping[str, Cost], repaired: Mapping[str, Cost], tokens: int, left_out: str
) -> AfterRepair:
    """Return how the order of the choices by their cost changes with a repair.

    Args:
        costs: of each reading's choice.
        repaired: the same after the repair; empty if it was left out.
        tokens: that were fitted to.
        left_out: why there is none; empty if there is one.

    Example:
        >>> cost = lambda nll: {"nll": nll, "tokens": 2, "window_means": [nll]}
        >>> before, after = ({"a": cost(x), "b": cost(y), "c": cost(y)} for x, y in ((3.0, 4.0), (3.0, 2.5)))
        >>> change = compare_repaired(before, after, 64, "")
        >>> change["choices"], change["tau"], change["cheapest_before"], change["cheapest_after"]
        (2, -1.0, ['a'], ['b', 'c'])
    """
    # Readings that remove the same layers share their costs, and count once.
    pairs = sorted({(costs[label]["nll"], cost["nll"]) for label, cost in repaired.items()})
    before, after = ([pair[side] for pair in pairs] for side in (0, 1))
    return {
        "tokens": tokens,
        "left_out": left_out,
        "choices": len(pairs),
        "tau": kendall_tau(before, after) if len(pairs) > 1 else None,
        "cheapest_before": _cheapest({label: costs[label] for label in repaired}),
        "cheapest_after": _cheapest(repaired),
    }


def _cheapest(costs: Mapping[str, Cost]) -> list[str]:
    """Return the labels with the lowest loss."""
    least = min((cost["nll"] for cost in costs.values()), default=0.0)
    return [label for label, cost in costs.items() if cost["nll"] == least]
