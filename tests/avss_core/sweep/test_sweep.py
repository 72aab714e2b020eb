"""The sweep against pruning by hand, what it runs, and how it goes on."""

import json

import pytest
import torch

from avss_core.evaluation.perplexity import language_modelling
from avss_core.models.activations import run_blocks
from avss_core.models.batches import text_batches, token_stream
from avss_core.models.sizes import parameter_bytes, parameter_count
from avss_core.models.views import without_layers
from avss_core.scores.layer_scores import score_layers
from avss_core.surgery.pruning import prune
from avss_core.surgery.repair.small_repair import repaired_without
from avss_core.sweep.kept_points import KeptPoints
from avss_core.sweep.layer_orders import ScoredText
from avss_core.sweep.sweep import sweep
from avss_core.sweep.sweep_plan import Plan
from avss_core.sweep.targets import Targets

TEXTS = [f"Line {i} of the text, and what it says of {i * i}." for i in range(40)]
HOW = ScoredText(tokens=256, window=64, parts=3)
SCORES = ("avss", "block_influence", "angular", "relative_magnitude", "last_n", "traversal", "greedy")
PLAN = Plan(
    counts=(1, 2, 5), scores=("avss", "angular", "last_n"), scored=HOW, held_out=128, window=64, repair=128
)


@pytest.fixture
def kept(tmp_path):
    return KeptPoints(tmp_path / "points", "a model")


def once(model, tokenizer):
    """A loader that may be called once."""
    calls = iter([(model, tokenizer)])
    return lambda: next(calls)


@pytest.fixture(params=["tiny_llama", "tiny_gpt2", "gemma2"])
def model(request, tiny):
    return tiny("gemma2") if request.param == "gemma2" else request.getfixturevalue(request.param)


def test_each_loss_is_that_of_pruning_and_repairing_by_hand(model, tokenizer, kept):
    record = sweep(once(model, tokenizer), TEXTS, PLAN, kept)
    ids = token_stream(tokenizer, TEXTS, 256 + 128)[256:]
    dense = language_modelling(model, ids, "", window=64)
    assert record["dense"]["nll"] == pytest.approx(dense.nll_per_token, rel=1e-6)
    assert record["dense"]["tokens"] == dense.tokens == 127
    batches = text_batches(tokenizer, TEXTS, tokens=128, window=64, batch_size=4)
    assert {point["model"] for point in record["points"]} == {"pruned", "repaired"}
    for point in record["points"]:
        own = prune(model, point["removed"])
        size = parameter_count(own), parameter_bytes(own)
        if point["model"] == "repaired":
            own = repaired_without(model, point["removed"], batches)
        loss = language_modelling(own, ids, "", window=64)
        assert point["loss"] == pytest.approx(loss.nll_per_token, rel=1e-6), point
        assert point["change"]["value"] == pytest.approx(
            sum(loss.window_means) / 2 - sum(dense.window_means) / 2, rel=1e-4, abs=1e-6
        )
        assert point["change"]["low"] <= point["change"]["value"] <= point["change"]["high"]
        assert (point["parameters"], point["bytes"]) == size


def test_scores_and_choices_are_those_of_the_library_call(tiny_llama, tokenizer, kept):
    plan = Plan(**{**vars(PLAN), "scores": SCORES, "repair": 0})
    record = sweep(once(tiny_llama, tokenizer), TEXTS, plan, kept)
    for name in SCORES:
        scores = score_layers(tiny_llama, tokenizer, TEXTS, name, tokens=256, window=64, parts=3, ratio=5 / 6)
        assert record["scores"][name] == scores.values.tolist()
        by_count = {p["removed_layers"]: p["removed"] for p in record["points"] if p["score"] == name}
        assert by_count == {count: scores.lowest(count / 6) for count in PLAN.counts}


def test_protected_layers_stay(tiny_llama, tokenizer, kept):
    plan = Plan(
        counts=(2, 3), scores=("avss", "greedy"), scored=HOW, held_out=128, window=64, repair=0,
        protect_first=1, protect_last=2,
    )  # fmt: skip
    record = sweep(once(tiny_llama, tokenizer), TEXTS, plan, kept)
    assert {layer for point in record["points"] for layer in point["removed"]} <= {1, 2, 3}
    with pytest.raises(ValueError, match="cannot remove 4 of 6 layers: only 3 are left"):
        sweep(lambda: pytest.fail("loaded"), TEXTS, Plan(**{**vars(plan), "counts": (4,)}), kept)


def test_equal_choices_are_measured_once_and_a_second_run_measures_nothing(tiny_llama, tokenizer, kept):
    record = sweep(once(tiny_llama, tokenizer), TEXTS, PLAN, kept)
    distinct = {tuple(point["removed"]) for point in record["points"]}
    assert len(distinct) < len(record["points"]) / 2
    made = {kind: kept.made.count(kind) for kind in kept.made}
    assert made == {
        "sizes": 1, "statistics": HOW.parts, "score": 1, "dense": 1, "pruned": len(distinct),
        "repaired": len(distinct),
    }  # fmt: skip
    again = KeptPoints(kept.folder, "a model")
    assert sweep(lambda: pytest.fail("the model was loaded"), TEXTS, PLAN, again) == record
    assert again.made == []


class Stopped(BaseException):
    """As a signal."""


def test_after_a_kill_only_what_lacks_is_measured(tiny_llama, tokenizer, kept, monkeypatch):
    from avss_core.sweep import held_out

    measure, passes = held_out.HeldOutText.loss, []

    def dies(self, model, same):
        if len(passes) == 4:
            raise Stopped
        passes.append(same)
        return measure(self, model, same)

    monkeypatch.setattr(held_out.HeldOutText, "loss", dies)
    with pytest.raises(Stopped):
        sweep(once(tiny_llama, tokenizer), TEXTS, PLAN, kept)
    monkeypatch.undo()
    first = list(kept.made)
    again = KeptPoints(kept.folder, "a model")
    record = sweep(once(tiny_llama, tokenizer), TEXTS, PLAN, again)
    fresh = KeptPoints(kept.folder.parent / "fresh", "a model")
    assert record == sweep(once(tiny_llama, tokenizer), TEXTS, PLAN, fresh)
    assert len(first) == 1 + HOW.parts + 1 + 4
    assert sorted(first + again.made) == sorted(fresh.made)


def test_all_scores_of_activations_share_one_pass(tiny_llama, tokenizer, kept, monkeypatch):
    from avss_core.statistics import collection

    read = []

    def counted(model, batch):
        read.append(int(batch.attention.sum()))
        return run_blocks(model, batch)

    monkeypatch.setattr(collection, "run_blocks", counted)
    names = ("avss", "avss_output", "block_influence", "angular")
    plan = Plan(counts=(1,), scores=names, scored=HOW, held_out=64, window=64, repair=0)
    sweep(once(tiny_llama, tokenizer), TEXTS, plan, kept)
    assert sum(read) == HOW.tokens


def test_blocks_before_the_first_gap_run_once(tiny, tokenizer, kept):
    model = tiny("llama")
    runs = []
    model.model.layers[0].mlp.register_forward_hook(lambda *_: runs.append(0))
    plan = Plan(counts=(1, 2, 3), scores=("last_n",), scored=HOW, held_out=64, window=64, repair=0)
    sweep(once(model, tokenizer), TEXTS, plan, kept)
    assert len(runs) == 1


@pytest.mark.parametrize(
    "change",
    [
        {"held_out": 96},
        {"window": 32},
        {"repair": 64},
        {"scored": ScoredText(tokens=192, window=64, parts=3)},
    ],
)
def test_other_settings_and_other_models_are_measured_anew(change, tiny_llama, tokenizer, kept):
    small = {**vars(PLAN), "counts": (2,), "scores": ("avss",)}
    sweep(once(tiny_llama, tokenizer), TEXTS, Plan(**small), kept)
    again = KeptPoints(kept.folder, "a model")
    sweep(once(tiny_llama, tokenizer), TEXTS, Plan(**small | change), again)
    assert "repaired" in again.made
    other = KeptPoints(kept.folder, "another model")
    sweep(once(tiny_llama, tokenizer), TEXTS, Plan(**small), other)
    assert other.made == kept.made


@pytest.mark.parametrize("damage", ["", "{", "[]", '{"value": 1}', '{"value": NaN}'])
def test_a_damaged_result_is_made_again(damage, kept):
    kept.get("loss", {"layer": 1}, lambda: [1.5, None])
    (path,) = kept.folder.iterdir()
    whole = path.read_text()
    for text in (damage, whole.replace("1.5", "2.5"), whole.replace("1.5", "NaN")):
        path.write_text(text)
        assert kept.get("loss", {"layer": 1}, lambda: [1.5, None]) == [1.5, None]
        assert json.loads(path.read_text()) == json.loads(whole)
    assert kept.made == ["loss"] * 4


def test_the_code_is_in_the_key(kept, monkeypatch):
    from avss_core.sweep import kept_points

    kept.get("loss", {}, lambda: 1)
    monkeypatch.setattr(kept_points, "code_digest", lambda: "edited")
    assert kept.get("loss", {}, lambda: 2) == 2


def test_a_size_adds_the_number_of_layers_that_reaches_it(tiny_llama, tokenizer, kept):
    each = parameter_count(tiny_llama.model.layers[0])
    targets = Targets(parameters=parameter_count(tiny_llama) - 3 * each - 1)
    plan = Plan(counts=(1,), scores=("avss", "greedy"), scored=HOW, held_out=64, window=64, repair=0)
    record = sweep(once(tiny_llama, tokenizer), TEXTS, plan, kept, targets=targets)
    assert [point["removed_layers"] for point in record["points"]] == [1, 4, 1, 4]
    greedy = score_layers(tiny_llama, tokenizer, TEXTS, "greedy", tokens=256, window=64, ratio=5 / 6)
    assert record["points"][-1]["removed"] == greedy.lowest(4 / 6)


def test_the_knee_of_each_curve_is_marked(tiny_llama, tokenizer, kept):
    from avss_core.sweep.knee import knee

    record = sweep(once(tiny_llama, tokenizer), TEXTS, PLAN, kept)
    for name in PLAN.scores:
        for model in ("pruned", "repaired"):
            own = [p for p in record["points"] if (p["score"], p["model"]) == (name, model)]
            place = knee([0, *PLAN.counts], [record["dense"]["nll"], *(p["loss"] for p in own)])
            assert [p["knee"] for p in own] == [index + 1 == place for index in range(len(own))]


def test_questions_are_asked_of_every_model(tiny_llama, tokenizer, kept):
    from avss_core.evaluation.likelihood import continuation_log_likelihoods
    from avss_core.evaluation.prompts import question_prompt

    rows = [
        {"id": f"{i}", "question": f"What is {i}?", "answers": [f"{i}", "it"], "wrong_answers": ["no", "x y"]}
        for i in range(8)
    ]
    plan = Plan(counts=(2,), scores=("avss",), scored=HOW, held_out=64, window=64, repair=64)
    record = sweep(once(tiny_llama, tokenizer), TEXTS, plan, kept, questions=rows)
    pruned = prune(tiny_llama, record["points"][0]["removed"])
    for model, preferred in ((tiny_llama, record["dense"]["preferred"]), (pruned, None)):
        said = []
        for row in rows:
            pairs = [
                (question_prompt(row["question"]), f" {a}") for a in row["answers"] + row["wrong_answers"]
            ]
            means = [total / n for total, n in continuation_log_likelihoods(model, tokenizer, pairs)]
            said.append(max(means[:2]) > max(means[2:]))
        if preferred is None:
            assert record["points"][0]["preferred"] == sum(said) / 8
            before = sum(record["dense"]["preferred"]) / 8
            assert record["points"][0]["preferred_change"]["value"] == pytest.approx(sum(said) / 8 - before)
        else:
            assert preferred == said


def test_a_family_that_cannot_be_repaired_is_swept_without(tiny_llama, tokenizer, kept, monkeypatch):
    from avss_core.surgery.repair.outlets import UnrepairableError
    from avss_core.sweep import measurements

    def refuses(*_arguments):
        raise UnrepairableError("cannot repair this family")

    monkeypatch.setattr(measurements, "repaired_without", refuses)
    record = sweep(once(tiny_llama, tokenizer), TEXTS, PLAN, kept)
    assert record["left_out"] == "cannot repair this family"
    assert {point["model"] for point in record["points"]} == {"pruned"}
    assert kept.made.count("repaired") == 1


def test_weights_that_are_no_numbers_are_named(tiny, tokenizer, kept):
    model = tiny("llama")
    with torch.no_grad():
        model.model.layers[3].mlp.down_proj.weight.fill_(float("nan"))
    with pytest.raises(ValueError, match=r"layer 3.*not a finite number"):
        sweep(once(model, tokenizer), TEXTS, PLAN, kept)
    with pytest.raises(ValueError, match="the loss is not a finite number"):
        sweep(once(model, tokenizer), TEXTS, Plan(**{**vars(PLAN), "scores": ("random",)}), kept)


def test_an_unknown_score_and_too_little_text_are_named(tiny_llama, tokenizer, kept):
    with pytest.raises(LookupError, match="unknown score 'avs'"):
        sweep(lambda: pytest.fail("loaded"), TEXTS, Plan(counts=(1,), scores=("avs",)), kept)
    with pytest.raises(ValueError, match="no token left behind the 8192 that were scored"):
        sweep(once(tiny_llama, tokenizer), TEXTS, Plan(counts=(1,), scores=("last_n",)), kept)


def test_the_dense_model_stays_as_it_is(tiny_llama, tokenizer, kept):
    view = without_layers(tiny_llama, [1])
    sweep(once(tiny_llama, tokenizer), TEXTS, Plan(**{**vars(PLAN), "scores": ("avss",)}), kept)
    assert not [
        hook for module in view.modules() for hook in (*module._forward_hooks, *module._forward_pre_hooks)
    ]
