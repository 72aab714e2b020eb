"""Statistics of texts, by the settings of a run."""

from collections.abc import Mapping
from functools import partial
from pathlib import Path

from avss_core.caching.kept_results import Run
from avss_core.jobs.text_statistics import text_statistics
from avss_core.settings.params import Params
from avss_core.statistics.layer_records import TextStatistics


def collect_texts(
    params: Params, model: Path, sources: Mapping[str, tuple[Path, int]], run: Run
) -> dict[str, TextStatistics]:
    """Return the statistics of texts by name, in parts, so that a killed collection goes on where it stopped.

    `sources` has the file of each text, and how many of its tokens are read; `run` runs the units.

    Raises:
        ValueError: a text has no token to count.
    """
    options = params.collect
    jobs = {
        name: [
            partial(
                text_statistics,
                model,
                source,
                **params.machine,
                tokens=tokens,
                window=options.window,
                batch_size=options.batch_size,
                skip_first=options.skip_first,
                sites=options.sites,
                absolute=options.threshold,
                relative=options.relative_threshold,
                part=part,
                parts=options.parts,
            )
            for part in range(options.parts)
        ]
        for name, (source, tokens) in sources.items()
    }
    sizes = [float(tokens) for _, tokens in sources.values() for _ in range(options.parts)]
    counted = {
        name: [part for part in parts if part["tokens"]]
        for name, parts in run(jobs, "statistics", sizes=sizes).items()
    }
    for name, parts in counted.items():
        if not parts:
            raise ValueError(
                f"{sources[name][0]}: no activation was counted; give text of two tokens or more"
            )
    return {
        name: {"tokens": sum(part["tokens"] for part in parts), "parts": parts}
        for name, parts in counted.items()
    }
