"""The stages collect and localize on a tiny model's own answers: what resumes, repeats and is refused."""

import json
from pathlib import Path
from string import ascii_lowercase

import pytest

ROOT = Path(__file__).resolve().parents[2]
QUICK = {
    "seed": 5,  # nobody else's cached units
    "data.source": "path",
    "data.sets": "[nq, sciq]",
    "collect.tokens": 64,
    "collect.set_tokens": 64,
    "collect.window": 32,
    "collect.parts": 1,
    "collect.answers": 10,
    "collect.samples": 3,
    "collect.judge": "contains",
    "evaluate.shots": 1,
    "evaluate.max_new_tokens": 4,
    "localize.resamples": 10,
}
DUMP = ("update.safetensors", "samples.jsonl", "answers.json", "own_answers.jsonl")


@pytest.fixture(scope="module")
def model(tiny, tokenizer, tmp_path_factory):
    folder = tmp_path_factory.mktemp("model")
    tiny("llama", max_position_embeddings=256).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """Two sets whose golds are single letters: some random answers of bytes hold one, others do not."""
    folder = tmp_path_factory.mktemp("data")
    for name in ("nq", "sciq"):
        (folder / name).mkdir()
        for side, count in (("train", 30), ("test", 4)):
            rows = [
                {"id": str(i), "question": f"{name} {side} {i}?", "answers": list(ascii_lowercase),
                 "wrong_answers": ["none"]}
                for i in range(count)
            ]  # fmt: skip
            (folder / name / f"{side}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder


@pytest.fixture
def load(model, data):
    def build(**changes):
        from avss_core.settings.reading import load_params

        values = {"model.name": model, "data.path": data, **QUICK, **changes}
        return load_params(ROOT / "params.yaml", [f"{key}={value}" for key, value in values.items()])

    return build


@pytest.fixture
def run(prefect_harness):
    def stages(params, root, *names):
        from flows.pipeline import STAGES

        for name in names:
            STAGES[name](params, root)
        return root / "data"

    return stages


@pytest.fixture
def asked(monkeypatch):
    """The prompts that the engine gets; it fails on a set that `asked.fail_on` names."""
    from avss_core.jobs.prone import own_answering

    class Asked(list):
        fail_on = None

    seen, real = Asked(), own_answering.answer_questions

    def spy(network, tokenizer, prompts, **settings):
        if seen.fail_on and f"{seen.fail_on} " in prompts[0].rpartition("Question: ")[2]:
            raise RuntimeError("killed")
        seen.extend(prompts)
        return real(network, tokenizer, prompts, **settings)

    monkeypatch.setattr(own_answering, "answer_questions", spy)
    return seen


def _json(path):
    return json.loads(path.read_text(encoding="utf-8"))


def test_a_killed_stage_goes_on_and_a_second_run_gives_the_same_bytes(load, run, asked, tmp_path):
    params = load(**{"collect.answers_from": "both"})
    first, second = tmp_path / "first", tmp_path / "second"
    run(params, first, "prepare")
    asked.fail_on = "sciq"
    with pytest.raises(RuntimeError, match="killed"):
        run(params, first, "collect")
    assert {prompt.rpartition("Question: ")[2].split()[0] for prompt in asked} == {"nq"}
    assert not (first / "data/activations").exists()
    asked.fail_on = None
    asked.clear()
    run(params, first, "collect", "localize")
    assert {prompt.rpartition("Question: ")[2].split()[0] for prompt in asked} == {"sciq"}
    assert len(asked) == 10 * (1 + 3)
    asked.clear()
    run(params, second, "prepare", "collect", "localize")
    assert asked == []
    for name in (*(f"activations/{file}" for file in DUMP), "localization.json"):
        assert (first / "data" / name).read_bytes() == (second / "data" / name).read_bytes(), name
    localization = _json(first / "data/localization.json")
    own = [localization["answers"][name]["generated"] for name in ("nq", "sciq")]
    assert [counts["questions"] for counts in own] == [10, 10]
    assert localization["pairs"] == 20 + sum(counts["both_kinds"] for counts in own) > 24
    assert localization["questions"] == 20  # the same ones
    assert set(localization["sources"]) == {"supplied", "generated"}


def test_another_way_to_draw_asks_again_and_supplied_answers_ask_nothing(load, run, asked, tmp_path):
    run(load(**{"collect.answers_from": "generated"}), tmp_path, "prepare", "collect")
    once = (tmp_path / "data/activations/own_answers.jsonl").read_bytes()
    asked.clear()
    run(load(**{"collect.answers_from": "generated", "collect.temperature": 2.0}), tmp_path, "collect")
    assert len(asked) == 2 * 10 * (1 + 3)
    assert (tmp_path / "data/activations/own_answers.jsonl").read_bytes() != once
    rows = (tmp_path / "data/activations/samples.jsonl").read_text().splitlines()
    assert {json.loads(row)["source"] for row in rows} == {"generated"}
    asked.clear()
    run(load(), tmp_path, "collect")
    assert asked == []
    assert not (tmp_path / "data/activations/own_answers.jsonl").exists()


def test_answers_of_one_kind_alone_are_refused_before_anything_is_written(load, run, tmp_path):
    cold = {"collect.temperature": 1e-9}  # every draw is the greedy answer again
    params = load(**cold, **{"collect.answers_from": "generated"})
    message = r"0 of 20 questions have both a right and a wrong answer.* only wrong.*collect\.temperature"
    with pytest.raises(ValueError, match=message):
        run(params, tmp_path, "prepare", "collect")
    assert not (tmp_path / "data/activations").exists()
    both = load(**cold, **{"collect.answers_from": "both"})
    localization = _json(run(both, tmp_path, "collect", "localize") / "localization.json")
    assert localization["sources"] == localization["source_agreement"] == {}
    counts = localization["answers"]["nq"]["generated"]
    assert counts["both_kinds"] == 0
    assert counts["answers"] == 40
    assert counts["right"] + counts["wrong"] <= 10
