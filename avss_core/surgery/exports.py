"""A choice of layers in the formats of other tools."""

import json
import re
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

    Checked against mergekit 0.1.5: tensors and configuration of Llama, Mistral, Gemma 1 and GPT-2 are the
    same. mergekit changes only the depth, so if a configuration has a list with one entry a layer, such as
    the `layer_types` of Qwen2, it writes the weights and then stops.

    Args:
        source: folder or Hub id of the model, the id with or without @ and a revision.
        kept: numbers of the layers that stay, in depth order.
        dtype: of the result, such as bfloat16.
    """
    lines = ["merge_method: passthrough", f"dtype: {dtype}", "slices:"]
    for first, end in kept_ranges(kept):
        lines += [
            "  - sources:",
            f"      - model: {_reference(source)}",
            f"        layer_range: [{first}, {end}]",
        ]
    return "\n".join(lines) + "\n"


def quantize_argument(removed: Sequence[int]) -> str:
    """Return the argument with which llama-quantize leaves out layers of the unpruned model.

    Checked against the source of llama.cpp in llama-cpp-python 0.3.36 (tools/quantize/quantize.cpp): numbers
    from 0 with commas and no spaces. It computes from the new numbers which layers have a window (Gemma 2 and
    3, Cohere 2, OLMo 3), so the kind of a layer that stays may change.
    """
    return f"--prune-layers {','.join(map(str, sorted(removed)))}\n"


def _reference(source: str) -> str:
    """Return a model as mergekit reads it: in plain text @ starts a revision and + an adapter."""
    is_plain = re.fullmatch(r"[^@+]+|[\w.-]+(/[\w.-]+)?@[^@+]+", source)
    return quoted(source) if is_plain else f'{{"model": {{"path": {quoted(source)}}}}}'


def quoted(text: str) -> str:
    """Return a text as a YAML string: every JSON string is one."""
    return json.dumps(text, ensure_ascii=False)
