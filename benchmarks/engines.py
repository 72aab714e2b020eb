"""Measure how much faster two processes evaluate: `python benchmarks/engines.py --data ../shared/data`.

The same units run on one and on two worker processes of Dask and of Ray, with one torch thread each, the
model loaded and an empty cache. Prints the seconds, their ratio, and whether all numbers are equal.
"""

import argparse
import json
import os
import tempfile
import time
from functools import partial
from pathlib import Path
from typing import Any

from avss_core.jobs.evaluation.checkpoint_evaluation import evaluation_jobs
from avss_core.settings.params import Params
from avss_core.settings.reading import load_params
from flows import ROOT  # first: it sets what prefect reads when it is imported
from flows.prepare import prepare
from flows.running.execution import run, stop
from flows.running.server import prefect_server
from flows.running.workspace import Workspace

WORKERS = (1, 2)


def evaluated(params: Params, place: Workspace, storage: Path) -> tuple[float, str]:
    """Return the seconds of an evaluation on processes with the model loaded, and its figures as JSON."""
    from prefect.settings import PREFECT_LOCAL_STORAGE_PATH, temporary_settings

    jobs: dict[str, Any] = evaluation_jobs(params, place.prepared, place.dense)
    few = [partial(jobs["text"], tokens=64 + number) for number in range(4 * params.execution.workers)]
    with temporary_settings({PREFECT_LOCAL_STORAGE_PATH: storage / "first"}):
        run(params, few, "warming up")  # starts the processes, and loads the model in each
    with temporary_settings({PREFECT_LOCAL_STORAGE_PATH: storage / "second"}):
        start = time.perf_counter()
        figures = run(params, jobs, "evaluation")
        return time.perf_counter() - start, json.dumps(figures, sort_keys=True)


def measure(options: argparse.Namespace) -> None:
    """Print seconds, ratios and whether the numbers are equal."""
    from prefect.settings import PREFECT_API_URL, temporary_settings

    changes = [f"evaluate.limit={options.limit}", f"evaluate.shard={options.shard}", *(options.set or [])]
    changes += [f"model.name={options.model}"] if options.model else []
    changes += ["data.source=path", f"data.path={options.data}"] if options.data else []
    numbers = set()
    with (
        tempfile.TemporaryDirectory() as folder,
        prefect_server() as address,
        temporary_settings({PREFECT_API_URL: address}),
    ):
        place = Workspace(Path(folder))
        prepare(load_params(ROOT / "params.yaml", changes), place.root)
        for engine in options.engines:
            seconds = {}
            for workers in WORKERS:
                chosen = [*changes, f"execution.engine={engine}", f"execution.workers={workers}"]
                params = load_params(ROOT / "params.yaml", chosen)
                seconds[workers], figures = evaluated(params, place, place.root / f"{engine}{workers}")
                stop()
                numbers.add(figures)
            one, two = (seconds[workers] for workers in WORKERS)
            print(f"{engine}: one worker {one:.0f} s, two {two:.0f} s, {one / two:.2f} times as fast")
    print("all numbers are equal" if len(numbers) == 1 else f"{len(numbers)} different results")


def main() -> None:
    """Run with one torch thread a process, so that a worker uses one core."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--model", help="left out: the model of params.yaml")
    parser.add_argument("--data", type=Path, help="folder of question sets; left out: the sample")
    parser.add_argument("--limit", type=int, default=50, help="questions a set")
    parser.add_argument("--shard", type=int, default=25, help="questions a unit")
    parser.add_argument("--engines", nargs="+", choices=["dask", "ray"], default=["dask", "ray"])
    parser.add_argument("--set", action="append", help="another setting, as section.key=value")
    options = parser.parse_args()
    os.environ["OMP_NUM_THREADS"] = "1"
    measure(options)


if __name__ == "__main__":
    main()
