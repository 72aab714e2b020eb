import copy
import dataclasses
from typing import Any

import pytest
import torch

from avss_core.files.tensor_store import TensorStore, tensor_store
from avss_core.surgery.pruning import prune
from avss_core.training.distillation import hidden_distance, kl_divergence
from avss_core.training.frozen_prefix import FrozenPrefix
from avss_core.training.healing import Distillation, HealingSettings, distil
from avss_core.training.history import Step

SETTINGS = HealingSettings(epochs=4, learning_rate=0.01, batch_size=2, rank=4, patience=4, seed=0)
REMOVED, KEPT = [2, 3], [0, 1, 4, 5]
_DRAW = torch.Generator().manual_seed(3)
WINDOWS = [tuple(torch.randint(0, 256, (size,), generator=_DRAW).tolist()) for size in (16, 16, 16, 16, 9)]
HELD_OUT = [tuple(torch.randint(0, 256, (16,), generator=_DRAW).tolist()) for _ in range(2)]


def settings(**changes: Any) -> HealingSettings:
    return dataclasses.replace(SETTINGS, **changes)


@pytest.fixture(scope="module")
def pruned(tiny_model: Any) -> Any:
    return tiny_model, prune(tiny_model, REMOVED)


def same_bits(one: Any, other: Any) -> bool:
    state = other.state_dict()
    return all(torch.equal(tensor, state[name]) for name, tensor in one.state_dict().items())


def test_the_student_comes_nearer_to_the_teacher(pruned: Any) -> None:
    teacher, student = pruned
    before = {name: tensor.clone() for name, tensor in student.state_dict().items()}
    healed, training = distil(student, teacher, WINDOWS, WINDOWS, SETTINGS, layer_map=KEPT)
    assert training.epochs[-1].train_loss < 0.8 * training.epochs[0].train_loss
    assert training.epochs[-1].validation_preference is None
    assert type(healed) is type(student)
    assert all(torch.equal(tensor, before[name]) for name, tensor in student.state_dict().items())
    assert not same_bits(healed, student)

    def distance(model: Any) -> float:
        with torch.no_grad():
            tokens = [torch.tensor([ids]) for ids in WINDOWS]
            parts = [kl_divergence(teacher(ids).logits[0], model(ids).logits[0]) for ids in tokens]
        return float(torch.cat(parts).mean())

    best = min(epoch.validation_loss for epoch in training.epochs)
    assert distance(healed) == pytest.approx(best, rel=1e-4)
    assert distance(healed) < 0.8 * distance(student)


def terms(pruned: Any, chosen: HealingSettings, store: TensorStore | None = None, **options: Any) -> Any:
    teacher, student = pruned
    objective = Distillation(student, teacher, WINDOWS, HELD_OUT, chosen, KEPT)
    if store is not None:
        objective.prepare([window.ids for window in objective.train], 2, store)
    return objective.terms(FrozenPrefix(student), objective.train, judging=False)


def test_tokens_of_answers_weigh_as_asked(pruned: Any) -> None:
    teacher, student = pruned
    answers = {WINDOWS[0]: (0, 5, 6), WINDOWS[4]: (8,)}
    chosen = settings(answers=3.0)
    objective = Distillation(student, teacher, WINDOWS, HELD_OUT, chosen, KEPT, answers)
    # A token is predicted at the one before; the first token of a window is not predicted.
    assert [each.weight for each in objective.train] == [20, 16, 16, 16, 11]
    with torch.no_grad():
        found = objective.terms(FrozenPrefix(student), objective.train, judging=False)
        total = 0.0
        for ids in WINDOWS:
            weights = torch.ones(len(ids))
            weights[[place - 1 for place in answers.get(ids, ()) if place]] = 3.0
            tokens = torch.tensor([ids])
            losses = kl_divergence(teacher(tokens).logits[0], student(tokens).logits[0])
            total += float((weights * losses).sum())
    assert float(found["kl"]) == pytest.approx(total / (20 + 16 + 16 + 16 + 11), rel=1e-4)


def test_terms_are_those_of_each_window_alone(pruned: Any) -> None:
    # Copies, since the library leaves its hooks in a model that was asked for its hidden states.
    teacher, student = map(copy.deepcopy, pruned)
    with torch.no_grad():
        found = terms(pruned, settings(hidden=1.0))
        losses, distances = [], [[] for _ in KEPT]
        for ids in WINDOWS:
            tokens = torch.tensor([ids])
            wanted = teacher(tokens, output_hidden_states=True)
            own = student(tokens, output_hidden_states=True)
            losses.append(kl_divergence(wanted.logits[0], own.logits[0]))
            for layer, dense in enumerate(KEPT[:-1]):  # the last hidden state is behind the norm
                pair = wanted.hidden_states[dense + 1][0], own.hidden_states[layer + 1][0]
                distances[layer].append(len(ids) * hidden_distance(*pair))
    assert float(found["kl"]) == pytest.approx(float(torch.cat(losses).mean()), rel=1e-4)
    tokens = sum(map(len, WINDOWS))
    partly = sum(float(sum(d)) / tokens for d in distances[:-1]) / len(KEPT)
    assert partly < float(found["hidden"]) <= partly + 4 / len(KEPT)


def test_hidden_states_of_a_model_that_is_its_own_teacher_have_no_distance(tiny_llama: Any) -> None:
    objective = Distillation(tiny_llama, tiny_llama, WINDOWS, HELD_OUT, settings(hidden=1.0), range(6))
    found = objective.terms(FrozenPrefix(tiny_llama), objective.train, judging=True)
    assert float(found["kl"].detach()) == pytest.approx(0, abs=1e-6)
    assert float(found["hidden"].detach()) == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize("top_k", [None, 300])
def test_slices_and_kept_chances_of_all_words_change_nothing(pruned: Any, top_k: int | None) -> None:
    with tensor_store(None, 0) as store, torch.no_grad():
        whole = terms(pruned, settings(slice_tokens=10_000))
        found = terms(pruned, settings(slice_tokens=7, top_k=top_k), store)
    torch.testing.assert_close(found["kl"], whole["kl"], rtol=1e-4, atol=1e-5)


def test_few_kept_words_bound_the_divergence_from_below(pruned: Any, tmp_path: Any) -> None:
    with torch.no_grad():
        whole = terms(pruned, SETTINGS)
        few = terms(pruned, settings(top_k=4), TensorStore(tmp_path, 2**20))
    assert 0 < float(few["kl"]) < float(whole["kl"])


@pytest.mark.parametrize("changes", [{"top_k": 8}, {"top_k": 8, "hidden": 1.0}, {"hidden": 1.0}], ids=str)
def test_slices_give_the_same_training(pruned: Any, changes: Any) -> None:
    teacher, student = pruned
    curves = []
    for size in (5, 1000):
        chosen = settings(epochs=1, slice_tokens=size, **changes)
        _, training = distil(student, teacher, WINDOWS, HELD_OUT, chosen, layer_map=KEPT)
        curves.append([step.loss for step in training.steps])
    assert curves[0] == pytest.approx(curves[1], abs=1e-3)


def test_kept_chances_ask_the_teacher_once_for_each_window(pruned: Any) -> None:
    teacher, student = pruned
    rows: list[int] = []
    handle = teacher.get_input_embeddings().register_forward_hook(
        lambda _m, args, _o: rows.append(len(args[0]))
    )
    try:
        distil(student, teacher, WINDOWS, HELD_OUT, settings(top_k=8), layer_map=KEPT)
    finally:
        handle.remove()
    assert sum(rows) == len(WINDOWS) + len(HELD_OUT)


def test_a_teacher_in_training_mode_is_asked_without_its_dropout_and_stays_in_it(tiny: Any) -> None:
    teacher = tiny("gpt2", 4)
    student = prune(teacher, [1])
    expected, _ = distil(student, teacher, WINDOWS, HELD_OUT, settings(epochs=1), layer_map=[0, 2, 3])
    teacher.train()
    found, _ = distil(student, teacher, WINDOWS, HELD_OUT, settings(epochs=1), layer_map=[0, 2, 3])
    assert teacher.training
    assert all(module.training for module in teacher.modules())
    assert same_bits(expected, found)


def test_chosen_layers_train_alone_behind_the_frozen_prefix(pruned: Any) -> None:
    teacher, student = pruned
    curves = []
    for prefix in (True, False):
        chosen = settings(epochs=1, hidden=1.0, frozen_prefix=prefix)
        healed, training = distil(student, teacher, WINDOWS, HELD_OUT, chosen, layer_map=KEPT, layers=[2, 3])
        curves.append([step.terms["kl"] for step in training.steps])
        changed = {n for n, t in student.state_dict().items() if not torch.equal(t, healed.state_dict()[n])}
        assert {next(int(p) for p in name.split(".") if p.isdigit()) for name in changed} == {2, 3}
    # AdamW's first steps are of the gradient's sign: where it is near 0, rounding shows.
    assert curves[0] == pytest.approx(curves[1], abs=0.01)


def test_a_stopped_healing_goes_on_to_the_same_bits(pruned: Any, tmp_path: Any) -> None:
    teacher, student = pruned
    chosen = settings(epochs=2, top_k=8, checkpoint_every=1)

    def stop(step: Step) -> None:
        if step.step == 2:
            raise KeyboardInterrupt

    expected, _ = distil(student, teacher, WINDOWS, HELD_OUT, chosen, layer_map=KEPT)
    with pytest.raises(KeyboardInterrupt):
        distil(student, teacher, WINDOWS, HELD_OUT, chosen, layer_map=KEPT, folder=tmp_path, on_step=stop)
    healed, training = distil(student, teacher, WINDOWS, HELD_OUT, chosen, layer_map=KEPT, folder=tmp_path)
    assert same_bits(expected, healed)
    assert training.tokens == 2 * sum(map(len, WINDOWS))


def test_empty_windows_are_left_out_and_counted(pruned: Any) -> None:
    teacher, student = pruned
    _, training = distil(student, teacher, [*WINDOWS, ()], HELD_OUT, settings(epochs=1), layer_map=KEPT)
    assert training.skipped == {"empty window": 1}
    with pytest.raises(ValueError, match=r"got 0 for training, 2 for validation .*; 1 skipped: empty window"):
        distil(student, teacher, [()], HELD_OUT, SETTINGS, layer_map=KEPT)


def test_models_and_maps_that_do_not_fit_are_refused(pruned: Any, tiny: Any) -> None:
    teacher, student = pruned
    with pytest.raises(
        ValueError, match=r"a student of 260 words and 4 layers cannot .* of 260 words .* 3 layers"
    ):
        distil(student, teacher, WINDOWS, HELD_OUT, SETTINGS, layer_map=[0, 1, 4])
    with pytest.raises(ValueError, match=r"a student of 260 words .* teacher of 300 words"):
        distil(student, tiny("llama", vocab_size=300), WINDOWS, HELD_OUT, SETTINGS, layer_map=KEPT)
    with pytest.raises(ValueError, match=r"layers \[6\] of the map are not in a teacher of 6"):
        distil(student, teacher, WINDOWS, HELD_OUT, SETTINGS, layer_map=[0, 1, 4, 6])
