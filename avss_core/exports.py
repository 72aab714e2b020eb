"""A choice of layers as other tools take it; nothing is written here."""

import json
from collections.abc import Sequence


def kept_ranges(kept: Sequence[int]) -> list[tuple[int, int]]:
    """Return runs of layers in depth order as (first, one past the last)."""
    ranges: list[tuple[int, int]] = []
    for layer in kept:
        if ranges and ranges[-1][1] == layer:
            ranges[-1] = (ranges[-1][0], layer + 1)
        else:
            ranges.append((layer, layer + 1))
    return ranges


def mergekit_yaml(source: str, kept: Sequence[int], dtype: str) -> str:
    """Return a passthrough merge for mergekit that gives the same model.

    Args:
        source: Hub id or folder of the model whose layers are kept.
        kept: numbers of its layers that stay, in depth order.
        dtype: of the result, such as bfloat16.
    """
    lines = ["merge_method: passthrough", f"dtype: {dtype}", "slices:"]
    for first, end in kept_ranges(kept):
        # A JSON string is a YAML string, whatever stands in it.
        lines += [
            "  - sources:",
            f"      - model: {quoted(source)}",
            f"        layer_range: [{first}, {end}]",
        ]
    return "\n".join(lines) + "\n"


def quantize_argument(removed: Sequence[int]) -> str:
    """Return the argument by which llama-quantize leaves out layers of the unpruned model."""
    return f"--prune-layers {','.join(map(str, sorted(removed)))}\n"


def quoted(text: str) -> str:
    """Return a text as a YAML string."""
    return json.dumps(text, ensure_ascii=False)
