"""`avss heal` as a person meets it: what it prints, where, and what it leaves behind."""

import json
from pathlib import Path

from avss_core.cli.heal_command import training_rows
from tests.avss_core.cli.calls import SETTINGS


def test_heal_says_what_it_takes_and_writes_what_it_promises(avss, pruned, model, data):
    # Costs take all of the text of this small data, so that none is left to learn from.
    taken = ("--set", "score.cost_tokens=2048", "--set", "heal.tokens=600")
    printed = avss("heal", pruned, "--teacher", model, "--data", data, "--out", "h", *SETTINGS, *taken)
    assert "\nheal: about " in printed.err
    assert "heal: step 2, train loss " in printed.err
    # A layer has four matrices of 32 x 32 or 32 x 16 and three of 32 x 64, of rank 2 each.
    assert "h: 4,096 numbers of 4 layers trained on " in printed.err
    assert "heal: text holds 0 of the 300 tokens that were asked for" in printed.err
    assert [row["step"] for row in printed.rows] == ["2"]
    assert float(printed.rows[0]["validation_loss"]) > 0
    certificate = json.loads(Path("h/certificate.json").read_text())
    assert certificate["layer_map"] == [0, 2, 3, 5]
    assert avss("verify", "h", "--json").json["passed"] is True
    assert sorted(path.name for path in Path().iterdir()) == ["h", "pruned"]


def test_heal_refuses_a_teacher_of_another_vocabulary(refused, pruned, tiny, tokenizer, data):
    folder = Path.cwd().parent / "other"
    tiny("llama", vocab_size=300).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    printed = refused("heal", pruned, "--teacher", folder, "--data", data, "--out", "h", *SETTINGS)
    assert "a student of 260 words and 4 layers cannot learn from a teacher of 300 words" in printed


def test_a_training_has_a_row_for_each_validation_with_the_tokens_so_far():
    history = [{"step": 1, "train_loss": 2.0, "validation_loss": 2.5},
               {"step": 3, "train_loss": 1.0, "validation_loss": 1.5}]  # fmt: skip
    training = {"steps": [{"tokens": 10}, {"tokens": 20}, {"tokens": 5}], "history": history}
    assert training_rows(training) == [
        {"step": 1, "tokens": 10, "train_loss": 2.0, "validation_loss": 2.5},
        {"step": 3, "tokens": 35, "train_loss": 1.0, "validation_loss": 1.5},
    ]
