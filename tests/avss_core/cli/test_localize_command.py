"""`avss localize` as a person meets it: what it prints, where, and what it leaves behind."""

from tests.avss_core.cli.calls import SETTINGS


def test_localize_ranks_the_layers(avss, model, data):
    printed = avss("localize", model, "--data", data, "--sets", "nq", "--json", *SETTINGS)
    result = printed.json
    assert printed.err == ""
    assert [row["layer"] for row in result["layers"]] == list(range(6))
    scores = [row["score"] for row in result["layers"]]
    assert [scores[layer] for layer in result["most_prone"]] == sorted(scores, reverse=True)
    assert result["questions"] == 8
    assert all(row["low"] <= row["high"] for row in result["layers"])


def test_localize_says_whose_answers_it_read(avss, model, data):
    arguments = ["localize", model, "--data", data, "--sets", "nq", *SETTINGS]
    assert (
        "answers supplied with the data: an accepted and a wrong answer to 8 questions"
        in avss(*arguments).err
    )
    own = ["--answers-from", "both", "--set", "collect.judge=contains", "--set", "collect.samples=2"]
    printed = avss(*arguments, *own, "--json")
    assert printed.err == ""
    counts = printed.json["answers"]["nq"]
    assert counts["supplied"] == {"questions": 8}
    assert counts["generated"]["questions"] == 8
    assert counts["generated"]["answers"] == 8 * 3
    assert "the model's own, judged by contains: a right and a wrong" in avss(*arguments, *own).err


def test_localize_refuses_answers_from_nowhere(refused, model, data):
    message = refused("localize", model, "--data", data, "--answers-from", "nobody")
    assert "collect.answers_from: Input should be 'supplied', 'generated' or 'both' (got 'nobody')" in message
