"""What layers cost an encoder on SST-2: `python benchmarks/encoders.py --model M --data DIR`.

DIR has the layout of `data.source=path`, with sst2/ and sciq/; M is any encoder without a head, such as the
one that `python benchmarks/models.py all-mpnet-base-v2 DIR` puts together. A linear head is fitted to the
dense encoder's states of train reviews, and is the same for every variant. Scores, repair and healing read
train reviews that the head has not seen; accuracy is of validation reviews.

Prints two Markdown tables: AVSS of each layer on reviews and on questions, which `--picture` draws as figures
4 and 5 of the paper do; and accuracies with 95 % bootstrap intervals without the layers that the score
chooses, after repair and after healing, beside random choices of as many layers, all of them distinct.
"""

import argparse
import io
import json
import random
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from matplotlib import rc_context
from matplotlib.figure import Figure
from transformers import PreTrainedModel

from avss_core.cli.sweeping.sweep_picture import SERIES, STYLE
from avss_core.evaluation.classification import LinearHead, positive_probabilities, text_means
from avss_core.files.writing import write_text
from avss_core.metrics.comparison import mean_with_interval, paired_means
from avss_core.models.architectures import depth
from avss_core.models.batches import by_length, pad
from avss_core.models.configuration import kept_layers
from avss_core.models.loading import load_model, load_tokenizer
from avss_core.scores.choice import count_to_remove
from avss_core.scores.layer_scores import LayerScores, score_layers
from avss_core.surgery.pruning import prune
from avss_core.surgery.repair.repair import repair
from avss_core.training.encoders.encoder_healing import EncoderDistillation
from avss_core.training.encoders.encoder_text import encoder_windows
from avss_core.training.healing import HealingSettings
from avss_core.training.healing_text import Shares, Sources
from avss_core.training.training import train

HEALING = HealingSettings(epochs=1, learning_rate=1e-3, batch_size=8, rank=32, patience=9, seed=0)
HELD_OUT = 32
"""Texts that validate the healing."""
SCORED = 4096
"""Tokens of reviews, and of questions, that the score reads."""


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--model", required=True, help="an encoder without a head")
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--ratio", type=float, default=0.25, help="share of the layers to remove")
    parser.add_argument("--head", type=int, default=1000, help="train reviews that the head is fitted to")
    parser.add_argument("--reviews", type=int, help="validation reviews; left out: all")
    parser.add_argument(
        "--tokens", type=int, default=8000, help="of other train reviews, for repair and healing"
    )
    parser.add_argument("--draws", type=int, default=5, help="random choices")
    parser.add_argument("--back", type=int, default=0, help="random choices that are repaired and healed too")
    parser.add_argument("--picture", type=Path, help="where the AVSS of each layer is drawn, as SVG")
    options = parser.parse_args()
    dense, tokenizer = load_model(options.model), load_tokenizer(options.model)
    layers = depth(dense.config)
    learnt, asked = (rows(options.data / "sst2" / f"{part}.jsonl") for part in ("train", "validation"))
    seen, unseen, asked = learnt[: options.head], learnt[options.head :], asked[: options.reviews]
    texts = {
        "reviews": [row["text"] for row in unseen],
        "questions": [row["question"] for row in rows(options.data / "sciq" / "train.jsonl")],
    }
    scores = {
        kind: score_layers(dense, tokenizer, own, tokens=SCORED, window=128) for kind, own in texts.items()
    }
    print("| layer | AVSS on reviews | share | AVSS on questions | share |")
    print("| --- | --- | --- | --- | --- |")
    for layer in range(layers):
        cells = [f"{s.values[layer]:.3f} | {s.shares[layer]:.3f}" for s in scores.values()]
        print(f"| {layer} | {' | '.join(cells)} |", flush=True)
    if options.picture:
        write_text(options.picture, drawn(scores, options.ratio))
    started = time.perf_counter()
    means = text_means(dense, tokenizer, [row["text"] for row in seen])
    head = LinearHead.fit(means, [row["label"] for row in seen])
    print(
        f"\nHead fitted to {head.rows:,} train reviews in {time.perf_counter() - started:.0f} s.\n",
        flush=True,
    )

    def right(model: PreTrainedModel) -> list[float]:
        chances = positive_probabilities(model, tokenizer, [row["text"] for row in asked], head)
        return [float((chance > 0.5) == row["label"]) for chance, row in zip(chances, asked, strict=True)]

    whole = right(dense)
    print(f"Dense: {share(whole)} of {len(whole)} reviews.\n")
    windows = encoder_windows(
        tokenizer,
        Sources(reviews=[(row["text"], row["label"]) for row in unseen]),
        Shares(0.0, 0.0, 1.0),
        tokens=options.tokens,
        window=128,
        seed=0,
    ).ids
    own = scores["reviews"].lowest(options.ratio)
    others = distinct_draws(layers, count_to_remove(layers, options.ratio), own, options.draws)
    print("| chosen by | layers removed | variant | accuracy | kept | less than dense |")
    print("| --- | --- | --- | --- | --- | --- |", flush=True)
    for number, removed in enumerate([own, *others]):
        label = f"random {number}" if number else "avss"
        for variant, model in variants(dense, removed, windows, alone=number > options.back):
            accuracy = right(model)
            print(
                f"| {label} | {', '.join(map(str, removed))} | {variant} | {share(accuracy)} "
                f"| {sum(accuracy) / sum(whole):.1%} | {change(whole, accuracy)} |",
                flush=True,
            )


def rows(path: Path) -> list[dict[str, Any]]:
    """Return the rows of a JSON Lines file."""
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def share(right: Sequence[float]) -> str:
    """Return an accuracy in percent with its interval."""
    figure = mean_with_interval(right, 0)
    return f"{figure['value']:.1%} [{figure['low']:.1%}, {figure['high']:.1%}]"


def change(before: Sequence[float], after: Sequence[float]) -> str:
    """Return the change of an accuracy in points with its paired interval."""
    figure = paired_means(before, after, 0)
    return f"{100 * figure['value']:+.1f} [{100 * figure['low']:+.1f}, {100 * figure['high']:+.1f}]"


def distinct_draws(layers: int, count: int, chosen: Sequence[int], draws: int) -> list[list[int]]:
    """Return random choices of layers, ascending, of which none equals another one or the chosen layers.

    Args:
        layers: depth of the model.
        count: layers a choice.
        chosen: what the score chooses.
        draws: choices, at most; fewer where there are no more.
    """
    generator, found = random.Random(0), dict[tuple[int, ...], None]()
    for _ in range(1000):
        drawn = tuple(sorted(generator.sample(range(layers), count)))
        if drawn != tuple(chosen) and len(found) < draws:
            found[drawn] = None
    return [list(each) for each in found]


def variants(
    dense: PreTrainedModel, removed: Sequence[int], windows: Sequence[Any], *, alone: bool
) -> Iterator[tuple[str, PreTrainedModel]]:
    """Yield the model without some layers; unless alone, repaired and healed from there too."""
    pruned, kept = prune(dense, removed), kept_layers(depth(dense.config), removed)
    yield "pruned", pruned
    if alone:
        return
    batches = [pad([windows[index] for index in chosen]) for chosen in by_length(windows, 32)]
    repaired, _ = repair(pruned, dense, kept, batches)
    yield "repaired", repaired
    objective = EncoderDistillation(repaired, dense, windows[HELD_OUT:], windows[:HELD_OUT], HEALING, kept)
    yield "healed", train(repaired, objective, range(len(kept)), HEALING)[0]


def drawn(scores: Mapping[str, LayerScores], ratio: float) -> str:
    """Return AVSS by layer, a panel for each kind of text, as SVG; equal scores give equal text."""
    with rc_context(STYLE):  # type: ignore[arg-type]  # the keys of a plain dict are not known
        figure = Figure(figsize=(7.6, 2.8), layout="constrained")
        for axes, (kind, own) in zip(figure.subplots(1, len(scores)), scores.items(), strict=True):
            lowest = own.lowest(ratio)
            layers = range(len(own.values))
            axes.bar(layers, own.values.tolist(), color=[SERIES[each in lowest] for each in layers])
            axes.set_yscale("log")
            axes.set_title(
                f"{kind} (orange: the lowest {ratio:.0%})", loc="left", fontsize=9, fontweight="bold"
            )
            axes.set_xlabel("layer")
            axes.set_xticks(layers)
            axes.set_axisbelow(True)
        figure.axes[0].set_ylabel("AVSS (logarithmic)")
        text = io.StringIO()
        figure.savefig(text, format="svg", metadata=dict.fromkeys(("Date", "Creator", "Format", "Type")))
    return text.getvalue()


if __name__ == "__main__":
    main()
