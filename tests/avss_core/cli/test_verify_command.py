"""`avss verify` as a person meets it: what it prints, where, and what it leaves behind."""

import json

import pytest


def test_verify_passes_what_was_written(avss, pruned):
    result = avss("verify", pruned, "--json").json
    assert (result["folder"], result["passed"]) == (str(pruned), True)
    assert {row["name"]: row["passed"] for row in avss("verify", "pruned").rows} == {
        check["name"]: "yes" for check in result["checks"]
    }


def test_verify_without_logits_leaves_out_what_needs_the_model(avss, pruned):
    names = {check["name"] for check in avss("verify", pruned, "--json").json["checks"]}
    kept = {check["name"] for check in avss("verify", pruned, "--no-logits", "--json").json["checks"]}
    assert names - kept == {"logits", "cache"}


def test_verify_fails_what_was_tampered_with(avss, pruned):
    weights = pruned / "model.safetensors"
    whole = weights.read_bytes()
    weights.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    printed = avss("verify", pruned, "--json")
    assert printed.code == 1
    assert json.loads(printed.out)["passed"] is False
    assert printed.err == f"error: {pruned} does not hold what its certificate promises: stored tensors\n"
    weights.write_bytes(whole[:100])
    assert "stored tensors" in avss("verify", pruned).err
    weights.unlink()
    assert avss("verify", pruned).code == 1
    weights.write_bytes(whole)
    assert avss("verify", pruned).code == 0


@pytest.mark.parametrize(
    ("text", "message"), [("{}", "is damaged: it lacks"), ("[]", "is damaged"), ("{", "is not valid JSON")]
)
def test_verify_names_a_damaged_certificate(refused, pruned, text, message):
    (pruned / "certificate.json").write_text(text)
    printed = refused("verify", pruned)
    assert f"{pruned / 'certificate.json'} {message}" in printed


def test_verify_needs_a_certificate(refused, bare):
    for folder in (bare, "gone"):
        assert f"{folder} has no certificate.json" in refused("verify", folder)
