"""What was left out of the rows of a run, in words."""

from collections.abc import Mapping

from avss_core.data.data_records import SplitCounts


def rows_left_out(sets: Mapping[str, SplitCounts]) -> list[str]:
    """Return a sentence for each question set that lost rows or wrong answers; empty if none did."""
    return [f"{name}: {'; '.join(losses)}" for name, counts in sets.items() if (losses := _losses(counts))]


def _losses(counts: SplitCounts) -> list[str]:
    """Return what a set lost."""
    reasons = {
        "asked again a question of another row": counts["duplicates"],
        "of train asked a question that is tested": counts["shared_with_test"],
        # A record of an earlier version does not have these.
        "had no accepted answer with a word or a number": counts.get("wordless", 0),
    }
    rows, among = sum(reasons.values()), counts.get("accepted_as_wrong", 0)
    told = ", ".join(f"{count:,} {reason}" for reason, count in reasons.items() if count)
    return [
        *([f"{_were(rows, 'row')} left out: {told}"] if rows else []),
        *([f"{_were(among, 'wrong answer')} left out, accepted in the same row"] if among else []),
    ]


def _were(count: int, name: str) -> str:
    """Return a number of things with its verb."""
    return f"1 {name} was" if count == 1 else f"{count:,} {name}s were"
