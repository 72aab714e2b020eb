"""A choice of layers as other tools take it, and the card of the checkpoint; nothing is written here."""

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any


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
    same. It changes the depth alone, so of a family whose configuration has a list of one entry a layer, such
    as the `layer_types` of Qwen2, it writes the weights and then stops.

    Args:
        source: folder, or Hub id with or without @ and a revision, of the model whose layers are kept.
        kept: numbers of its layers that stay, in depth order.
        dtype: of the result, such as bfloat16.
    """
    lines = ["merge_method: passthrough", f"dtype: {dtype}", "slices:"]
    for first, end in kept_ranges(kept):
        # A JSON string is a YAML string, whatever stands in it.
        lines += [
            "  - sources:",
            f"      - model: {_reference(source)}",
            f"        layer_range: [{first}, {end}]",
        ]
    return "\n".join(lines) + "\n"


def quantize_argument(removed: Sequence[int]) -> str:
    """Return the argument by which llama-quantize leaves out layers of the unpruned model.

    Checked against the source of llama.cpp in llama-cpp-python 0.3.36 (tools/quantize/quantize.cpp): numbers
    from 0 with commas and no spaces. Which layers have a window (Gemma 2 and 3, Cohere 2, OLMo 3) it computes
    from their new numbers, so those that stay may be of another kind than they were.
    """
    return f"--prune-layers {','.join(map(str, sorted(removed)))}\n"


def model_card(
    name: str, certificate: Mapping[str, Any], base_model: str | None = None, quantised: str | None = None
) -> str:
    """Return the README of a pruned checkpoint.

    Args:
        name: what the source is called.
        certificate: of the checkpoint.
        base_model: Hub id of the source, where it has one.
        quantised: file with quantised weights from which the source was read, where it was.
    """
    known = certificate["provenance"]
    return "\n".join(
        [
            *_front_matter(base_model),
            "",
            f"# {name} without {_layers(known['removed'])}",
            "",
            *_table(certificate),
            "",
            "Layers are numbered from 0, as in the source. The checkpoint loads with `transformers` alone.",
            "",
            "## How it was checked",
            "",
            f"The checkpoint was {certificate['way']}; then a process that had seen nothing of it made these "
            "checks. `avss verify DIR` repeats them from `certificate.json`.",
            "",
            *(
                f"- {check['name']}: {'passed' if check['passed'] else 'failed'} ({check['detail']})"
                for check in certificate["checks"]
            ),
            "",
            "## Limits",
            "",
            "- The checks say that the file is what it claims to be, not how good the model is. Removing "
            "layers costs quality: measure it on your own task before use.",
            "- No training has followed the removal.",
            *_quantised_limit(quantised),
            "- The source's licence, intended use and biases hold for what is left of it.",
            "",
            "`mergekit.yaml` and `llama-quantize.txt` hold the same choice of layers for those tools.",
            "",
        ]
    )


def _reference(source: str) -> str:
    """Return a model as mergekit reads it; in a plain text it takes @ for a revision and + for an adapter."""
    is_plain = re.fullmatch(r"[^@+]+|[\w.-]+(/[\w.-]+)?@[^@+]+", source)
    return _quoted(source) if is_plain else f'{{"model": {{"path": {_quoted(source)}}}}}'


def _front_matter(base_model: str | None) -> list[str]:
    """Return the lines that the Hub reads."""
    base = [f"base_model: {_quoted(base_model)}"] if base_model else []
    return [
        "---",
        *base,
        "library_name: transformers",
        "pipeline_tag: text-generation",
        "tags:",
        "  - avss",
        "  - layer-pruning",
        "  - pruned",
        "---",
    ]


def _quantised_limit(file: str | None) -> list[str]:
    """Return the line that says what quantised weights mean for the result."""
    if file is None:
        return []
    return [
        f"- The weights were read from {file}, so they are rounded; a merge by mergekit starts from those of "
        "the base model and differs."
    ]


def _table(certificate: Mapping[str, Any]) -> list[str]:
    """Return the rows that say what was removed and what that made of the size."""
    known = certificate["provenance"]
    before, after = known["dense_parameters"], certificate["parameters"]
    rows = {
        "layers removed": ", ".join(map(str, known["removed"])),
        "layers left": str(len(certificate["layer_map"])),
        "chosen by": known.get("score", "unknown"),
        "parameters before": f"{before:,}",
        "parameters after": f"{after:,} ({after / before:.1%})",
        "dtype": certificate["dtype"],
    }
    if "removed_dense" in known:
        rows["their numbers in the dense model"] = ", ".join(map(str, known["removed_dense"]))
    return ["| | |", "| --- | --- |", *(f"| {key} | {value} |" for key, value in rows.items())]


def _layers(removed: Sequence[int]) -> str:
    """Return a count of layers in words."""
    return f"{len(removed)} layer{'s' if len(removed) > 1 else ''}"


def _quoted(text: str) -> str:
    """Return a text as a YAML string."""
    return json.dumps(text, ensure_ascii=False)
