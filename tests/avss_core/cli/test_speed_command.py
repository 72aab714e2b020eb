"""`avss speed` as a person meets it: what it prints, where, and what it leaves behind."""

from tests.avss_core.cli.calls import SETTINGS


def test_speed_compares_the_others_with_the_first(avss, model, pruned):
    dense, shorter = avss("speed", model, pruned, *SETTINGS).rows
    assert (dense["model"], shorter["model"]) == (str(model), str(pruned))
    assert dense["decode_ratio_batch_8"] == "1.0"
    assert float(shorter["decode_ratio_batch_8"]) > 0
    assert int(shorter["cache_bytes_per_token"]) < int(dense["cache_bytes_per_token"])
    assert float(dense["prefill"]) > float(dense["decode_batch_1"]) > 0


def test_speed_of_a_prompt_that_does_not_fit_names_the_setting(refused, model):
    assert "lower speed.prompt_tokens" in refused("speed", model, "--set", "speed.prompt_tokens=5000")
