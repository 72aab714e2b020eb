"""What was dropped from the rows of a run, in words."""

from collections.abc import Mapping

from tasks.records import SplitCounts


def rows_left_out(sets: Mapping[str, SplitCounts]) -> list[str]:
    """Return a sentence for each question set that lost rows; empty if none did."""
    sentences = []
    for name, counts in sets.items():
        repeated, tested = counts["duplicates"], counts["shared_with_test"]
        reasons = [
            *([f"{repeated:,} asked again a question of another row"] if repeated else []),
            *([f"{tested:,} of train asked a question that is tested"] if tested else []),
        ]
        if reasons:
            rows = "1 row was" if repeated + tested == 1 else f"{repeated + tested:,} rows were"
            sentences.append(f"{name}: {rows} left out: {' and '.join(reasons)}")
    return sentences
