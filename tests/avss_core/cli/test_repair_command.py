"""`avss repair` as a person meets it: what it prints, where, and what it leaves behind."""

import json
from pathlib import Path

from tests.avss_core.cli.calls import SETTINGS


def test_repair_says_what_it_refitted_and_writes_what_it_promises(avss, pruned, model, data):
    printed = avss("repair", pruned, "--teacher", model, "--data", data, "--out", "r", *SETTINGS)
    assert "r: " in printed.err
    assert " of 8 projections refitted to " in printed.err
    assert [row["dense_layer"] for row in printed.rows] == ["0", "0", "2", "2", "3", "3", "5", "5"]
    certificate = json.loads(Path("r/certificate.json").read_text())
    assert certificate["layer_map"] == [0, 2, 3, 5]
    assert avss("verify", "r", "--json").json["passed"] is True
    assert sorted(path.name for path in Path().iterdir()) == ["pruned", "r"]


def test_a_model_without_a_gap_is_refused(refused, model, data):
    printed = refused("repair", model, "--teacher", model, "--data", data, "--out", "r", *SETTINGS)
    assert "no layer of 6 is missing; there is nothing to repair" in printed


def test_a_teacher_of_another_depth_is_refused(refused, pruned, tiny, tokenizer, data):
    folder = Path.cwd().parent / "other"
    tiny("llama", num_hidden_layers=4).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    printed = refused("repair", pruned, "--teacher", folder, "--data", data, "--out", "r", *SETTINGS)
    assert "are not ascending numbers of the dense model's 4" in printed
