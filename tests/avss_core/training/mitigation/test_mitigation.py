import dataclasses
import json
import math

import numpy as np
import pytest
import torch

from avss_core.evaluation.likelihood import continuation_log_likelihoods
from avss_core.evaluation.prompts import question_prompt
from avss_core.models.architectures import blocks
from avss_core.training.frozen_prefix import FrozenPrefix
from avss_core.training.history import Epoch, Step, Training
from avss_core.training.mitigation import mitigation
from avss_core.training.mitigation import pairs as encoded_pairs
from avss_core.training.mitigation.mitigation import Contrastive, ContrastiveSettings
from avss_core.training.mitigation.pairs import Pair

SETTINGS = ContrastiveSettings(
    epochs=3,
    learning_rate=0.02,
    batch_size=3,
    rank=4,
    alpha=1.0,
    beta=1.0,
    gamma=0.5,
    temperature=0.2,
    patience=3,
    seed=0,
)
# Whatever an untrained model prefers is wrong for some of these.
TRAIN = [
    Pair("a?", "aa", "no", ("aa", "a")),
    Pair("b?", "no", "bb"),
    Pair("c?", "cc", "no", ("cc", "c")),
    Pair("d?", "no", "dd"),
    Pair("e?", "ee", "no"),
]
VALIDATION = [Pair("f?", "ff", "no"), Pair("g?", "gg", "nope")]
LAYERS = [1, 3]


def settings(**changes) -> ContrastiveSettings:
    return dataclasses.replace(SETTINGS, **changes)


def train_contrastive(*arguments, **options):
    """Return the merged model and the history."""
    merged, training = mitigation.train_contrastive(*arguments, **options)
    return merged, list(training.epochs)


@pytest.fixture(scope="module", params=["llama", "gpt2"])
def trained(request, tiny, tokenizer):
    """The given model, its state before, the trained model and its history."""
    model = tiny(request.param, layers=4)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    merged, history = train_contrastive(
        model, tokenizer, TRAIN, TRAIN, LAYERS, settings(epochs=8, patience=8)
    )
    return model, before, merged, history


def test_the_loss_falls_on_what_can_be_learnt_by_heart(trained):
    *_, history = trained
    assert [epoch.epoch for epoch in history] == list(range(1, 9))
    assert history[-1].train_loss < 0.7 * history[0].train_loss
    assert min(epoch.validation_loss for epoch in history) < 0.8 * history[0].train_loss


def test_accepted_answers_become_the_more_likely_ones(trained, tokenizer):
    model, _, merged, history = trained

    def preferred(judged) -> float:
        pairs = [
            (question_prompt(p.question), f" {answer}\n") for p in TRAIN for answer in (p.accepted, p.wrong)
        ]
        means = [score / tokens for score, tokens in continuation_log_likelihoods(judged, tokenizer, pairs)]
        return sum(a > w for a, w in zip(means[::2], means[1::2], strict=True)) / len(TRAIN)

    best = min(history, key=lambda epoch: epoch.validation_loss)
    assert preferred(merged) == best.validation_preference == 1.0
    assert preferred(model) < 1.0


def test_tensors_outside_the_chosen_layers_keep_their_bits(trained):
    _, before, merged, _ = trained
    after = merged.state_dict()
    assert after.keys() == before.keys()
    changed = {name for name, tensor in before.items() if not torch.equal(tensor, after[name])}
    numbers = {next(int(part) for part in name.split(".") if part.isdigit()) for name in changed}
    assert numbers == set(LAYERS)
    assert all(after[name].dtype == tensor.dtype for name, tensor in before.items())


def test_every_linear_map_of_a_chosen_layer_changes(trained):
    model, _, merged, _ = trained
    for index in LAYERS:
        for name, old in blocks(model)[index].state_dict().items():
            new = blocks(merged)[index].state_dict()[name]
            linear = name.endswith("weight") and old.ndim == 2
            assert torch.equal(old, new) != linear, name


def test_the_given_model_stays_as_it_was(trained):
    model, before, merged, _ = trained
    assert type(model) is type(merged)
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())
    assert all(parameter.requires_grad and parameter.grad is None for parameter in model.parameters())
    assert not any("lora" in name for name, _ in model.named_modules())


def test_no_hook_and_no_adapter_is_left(trained):
    model, _, merged, _ = trained
    for module in [*model.modules(), *merged.modules()]:
        assert not module._forward_hooks
        assert not module._forward_pre_hooks
    assert not any("lora" in name for name, _ in merged.named_modules())
    assert not merged.training


def test_the_trained_model_is_a_plain_checkpoint(trained, tmp_path):
    _, _, merged, _ = trained
    merged.save_pretrained(tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {
        "config.json",
        "generation_config.json",
        "model.safetensors",
    }
    loaded = type(merged).from_pretrained(tmp_path)
    assert all(torch.equal(tensor, merged.state_dict()[name]) for name, tensor in loaded.state_dict().items())


def test_the_same_seed_gives_the_same_bits_whatever_the_global_generator(tiny_llama, tokenizer):
    results = []
    for state, seed in ((1, 0), (2, 0), (2, 5)):
        torch.manual_seed(state)
        merged, history = train_contrastive(
            tiny_llama, tokenizer, TRAIN, VALIDATION, [2], settings(epochs=1, seed=seed)
        )
        results.append((merged.state_dict(), history))
    first, again, other = results
    assert first[1] == again[1] != other[1]
    assert all(torch.equal(tensor, again[0][name]) for name, tensor in first[0].items())
    assert not all(torch.equal(tensor, other[0][name]) for name, tensor in first[0].items())


def test_global_generators_stay_where_they_were(tiny_llama, tokenizer):
    before, legacy = torch.random.get_rng_state(), np.random.get_state()[1].tolist()
    train_contrastive(tiny_llama, tokenizer, TRAIN[:1], VALIDATION, [2], settings(epochs=1))
    assert torch.equal(before, torch.random.get_rng_state())
    assert legacy == np.random.get_state()[1].tolist()


def test_a_model_in_training_mode_trains_without_its_dropout_and_stays_in_that_mode(tiny, tokenizer):
    model = tiny("gpt2", layers=2)
    assert model.config.resid_pdrop > 0
    expected, _ = train_contrastive(model, tokenizer, TRAIN, VALIDATION, [1], settings(epochs=1))
    model.train()
    found, _ = train_contrastive(model, tokenizer, TRAIN, VALIDATION, [1], settings(epochs=1))
    assert model.training
    assert all(
        torch.equal(tensor, found.state_dict()[name]) for name, tensor in expected.state_dict().items()
    )


# What is learnt from these is the contrary of what is asked of the validation pairs.
ADVERSARIAL = [Pair(pair.question, pair.wrong, pair.accepted) for pair in TRAIN]


def mean_cross_entropy(model, tokenizer, pairs: list[Pair]) -> float:
    texts = [(question_prompt(pair.question), f" {pair.accepted}\n") for pair in pairs]
    return -sum(
        score / tokens for score, tokens in continuation_log_likelihoods(model, tokenizer, texts)
    ) / len(texts)


def test_training_stops_early_and_keeps_the_best_epoch(tiny_llama, tokenizer):
    told: list[Epoch] = []
    merged, history = train_contrastive(
        tiny_llama,
        tokenizer,
        TRAIN,
        ADVERSARIAL,
        LAYERS,
        settings(epochs=30, alpha=0.0, gamma=0.0, patience=2),
        on_epoch=told.append,
    )
    assert told == history
    losses = [epoch.validation_loss for epoch in history]
    best = min(losses)
    assert len(history) == losses.index(best) + 1 + 2 < 30
    assert losses[-1] > best + 0.02
    assert mean_cross_entropy(merged, tokenizer, ADVERSARIAL) == pytest.approx(best, abs=1e-4)


def test_without_its_other_terms_the_loss_is_the_cross_entropy(tiny_model, tokenizer):
    plain = settings(epochs=1, learning_rate=0.0, alpha=0.0, gamma=0.0, batch_size=2)
    merged, (epoch,) = train_contrastive(tiny_model, tokenizer, TRAIN, VALIDATION, [0], plain)
    assert epoch.train_loss == pytest.approx(mean_cross_entropy(tiny_model, tokenizer, TRAIN), abs=1e-4)
    assert epoch.validation_loss == pytest.approx(
        mean_cross_entropy(tiny_model, tokenizer, VALIDATION), abs=1e-4
    )
    # Nothing was learnt at a rate of 0.
    assert all(
        torch.equal(tensor, merged.state_dict()[name]) for name, tensor in tiny_model.state_dict().items()
    )


def losses_at_rest(model, tokenizer, chosen: list[Pair], **changes) -> float:
    """Return the validation loss of the model as it is."""
    still = settings(epochs=1, learning_rate=0.0, batch_size=8, **changes)
    _, (epoch,) = train_contrastive(model, tokenizer, chosen[:1], chosen, LAYERS, still)
    return epoch.validation_loss


def test_the_preference_term_equals_a_hand_made_one(tiny_model, tokenizer):
    texts = [(question_prompt(p.question), f" {answer}\n") for p in TRAIN for answer in (p.accepted, p.wrong)]
    means = [score / tokens for score, tokens in continuation_log_likelihoods(tiny_model, tokenizer, texts)]
    expected = [math.log(1 + math.exp(-1.5 * (a - w))) for a, w in zip(means[::2], means[1::2], strict=True)]
    plain = losses_at_rest(tiny_model, tokenizer, TRAIN, alpha=0.0, gamma=0.0)
    found = losses_at_rest(tiny_model, tokenizer, TRAIN, alpha=2.0, beta=1.5, gamma=0.0)
    assert found - plain == pytest.approx(2 * sum(expected) / len(expected), abs=1e-4)


@torch.inference_mode()
def representations(
    model, tokenizer, pair: Pair, answer: str, layer: int
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the last question token's vector and the mean over the answer's, of one text alone."""
    prompt = question_prompt(pair.question)
    start, seen = len(tokenizer(prompt).input_ids), []
    handle = blocks(model)[layer].register_forward_hook(lambda _m, _a, result: seen.append(result))
    model(**tokenizer(f"{prompt} {answer}\n", return_tensors="pt"), use_cache=False)
    handle.remove()
    hidden = (seen[0][0] if isinstance(seen[0], tuple) else seen[0])[0]
    return hidden[start - 1], hidden[start:].mean(0)


def test_the_representation_term_equals_a_hand_made_one(tiny_model, tokenizer):
    # The first pair's accepted answer is a further accepted answer of the second: no negative of it.
    pairs = [Pair("a?", "x", "y z"), Pair("bb?", "w w w", "v", ("w w w", "The X.")), Pair("c?", "q", "x")]
    layer_losses = []
    for layer in LAYERS:
        anchors = [representations(tiny_model, tokenizer, pair, pair.accepted, layer)[0] for pair in pairs]
        answers = [(pair, text) for pair in pairs for text in (pair.accepted, pair.wrong)]
        texts = [text for _, text in answers]
        vectors = torch.stack(
            [representations(tiny_model, tokenizer, p, text, layer)[1] for p, text in answers]
        )
        terms = []
        # "x" is an accepted answer of pairs 0 and 1 (normalised), and the third pair's wrong answer.
        golds = [{"x"}, {"w w w", "x"}, {"q"}]
        for row, anchor in enumerate(anchors):
            weights = (torch.cosine_similarity(anchor, vectors, dim=-1) / 0.2).exp()
            own = 2 * row
            kept = [i for i, text in enumerate(texts) if i == own or text not in golds[row]]
            terms.append(-math.log(float(weights[own] / weights[kept].sum())))
        layer_losses.append(sum(terms) / len(terms))
    plain = losses_at_rest(tiny_model, tokenizer, pairs, alpha=0.0, gamma=0.0)
    found = losses_at_rest(tiny_model, tokenizer, pairs, alpha=0.0, gamma=3.0)
    assert found - plain == pytest.approx(3 * sum(layer_losses) / len(layer_losses), abs=1e-3)


def test_one_pair_trains(tiny_model, tokenizer):
    merged, history = train_contrastive(
        tiny_model, tokenizer, TRAIN[:1], VALIDATION[:1], [0], settings(epochs=2)
    )
    assert all(math.isfinite(epoch.train_loss) and math.isfinite(epoch.validation_loss) for epoch in history)
    assert all(tensor.isfinite().all() for tensor in merged.state_dict().values())


def test_no_epoch_changes_nothing(tiny_llama, tokenizer):
    merged, history = train_contrastive(tiny_llama, tokenizer, TRAIN, VALIDATION, [0], settings(epochs=0))
    assert history == []
    assert all(
        torch.equal(tensor, merged.state_dict()[name]) for name, tensor in tiny_llama.state_dict().items()
    )


def test_steps_are_told_as_they_end(tiny_llama, tokenizer):
    done: list[Step] = []
    train_contrastive(
        tiny_llama, tokenizer, TRAIN, VALIDATION, [0], settings(epochs=2, batch_size=2), on_step=done.append
    )
    samples = [step.samples for step in done]
    assert sorted(samples[:3]) == sorted(samples[3:]) == [1, 2, 2]
    assert [(step.step, step.epoch) for step in done] == [(1, 1), (2, 1), (3, 1), (4, 2), (5, 2), (6, 2)]
    for step in done:
        terms = step.terms
        whole = terms["cross_entropy"] + SETTINGS.alpha * terms["preference"] + 0.5 * terms["info_nce"]
        assert step.loss == pytest.approx(whole, abs=1e-5)


@pytest.mark.parametrize(
    ("train", "validation", "layers", "counts"),
    [
        ([], VALIDATION, [0], "0 for training, 2 for validation and 1 layers"),
        (TRAIN, [], [0], "5 for training, 0 for validation and 1 layers"),
        (TRAIN, VALIDATION, [], "5 for training, 2 for validation and 0 layers"),
    ],
)
def test_nothing_to_train_is_refused(train, validation, layers, counts, tiny_llama, tokenizer):
    with pytest.raises(ValueError, match=counts):
        train_contrastive(tiny_llama, tokenizer, train, validation, layers, SETTINGS)


@pytest.mark.parametrize("layers", [[1, 6], [-1]])
def test_a_layer_that_the_model_lacks_is_refused(layers, tiny_llama, tokenizer):
    with pytest.raises(ValueError, match=rf"layers \[{layers[-1]}\] are not in a model of 6 layers"):
        train_contrastive(tiny_llama, tokenizer, TRAIN, VALIDATION, layers, SETTINGS)


def test_a_training_loss_that_is_not_finite_stops_the_run(tiny, tokenizer):
    broken = tiny("llama", layers=2)
    broken.model.norm.weight.data[0] = math.nan
    with pytest.raises(
        ValueError,
        match=r"the training loss of step 1 is nan at a learning rate of 0\.02; lower the learning",
    ):
        train_contrastive(broken, tokenizer, TRAIN, VALIDATION, [0], SETTINGS)
    assert not any(module._forward_hooks for module in broken.modules())


def test_a_validation_loss_that_is_not_finite_stops_the_run(tiny_llama, tokenizer):
    # One step, after whose loss the weights are past all numbers.
    wild = settings(epochs=1, batch_size=8, learning_rate=1e30)
    with pytest.raises(
        ValueError, match=r"the validation loss after step 1 is nan at a learning rate of 1e\+30"
    ):
        train_contrastive(tiny_llama, tokenizer, TRAIN, VALIDATION, [0], wild)


UNUSABLE = [Pair("x?", " ", "no"), Pair("y?", "yes", ""), Pair("z?", "a" * 200, "no"), Pair("z?", "", "")]


def test_pairs_that_cannot_be_used_are_left_out_and_counted(tiny_llama, tokenizer):
    one = settings(epochs=1)
    merged, training = mitigation.train_contrastive(
        tiny_llama, tokenizer, [*UNUSABLE, *TRAIN], [*VALIDATION, UNUSABLE[1]], [2], one
    )
    assert training.skipped == {
        "no accepted answer": 2,
        "no wrong answer": 2,
        "longer than the model's context": 1,
    }
    without, plain = mitigation.train_contrastive(tiny_llama, tokenizer, TRAIN, VALIDATION, [2], one)
    assert training.epochs == plain.epochs
    assert all(torch.equal(t, without.state_dict()[name]) for name, t in merged.state_dict().items())


def test_a_set_without_a_usable_pair_is_refused_with_the_reasons(tiny_llama, tokenizer):
    with pytest.raises(ValueError, match=r"got 0 for training, .*; 2 skipped: no accepted answer; 1 skipped"):
        train_contrastive(tiny_llama, tokenizer, UNUSABLE, VALIDATION, [0], SETTINGS)


class Counting(FrozenPrefix):
    """A model of which is counted what the terms make it do."""

    rows, scored, watched = 0, 0, False

    def __call__(self, sequences, visit=None):
        self.rows, self.watched = len(sequences), visit is not None
        return super().__call__(sequences, visit)

    def logits(self, hidden):
        self.scored = len(hidden)
        return super().logits(hidden)


@pytest.mark.parametrize(
    ("weights", "judging", "names", "rows", "scored"),
    [
        ((1, 0, 0), False, {"cross_entropy"}, 5, 5),
        ((1, 0, 0), True, {"cross_entropy", "preferred"}, 10, 10),
        ((0, 1, 0), False, {"preference"}, 10, 10),
        ((0, 0, 1), False, {"info_nce"}, 10, 0),
        ((1, 0, 1), False, {"cross_entropy", "info_nce"}, 10, 5),
        ((1, 1, 1), True, {"cross_entropy", "preference", "info_nce", "preferred"}, 10, 10),
    ],
)
def test_a_term_of_weight_0_is_not_computed(weights, judging, names, rows, scored, tiny_llama, tokenizer):
    entropy, alpha, gamma = weights
    chosen = settings(cross_entropy=float(entropy), alpha=float(alpha), gamma=float(gamma))
    objective = Contrastive(tokenizer, TRAIN, VALIDATION, LAYERS, chosen)
    model = Counting(tiny_llama)
    found = objective.terms(model, objective.train, judging=judging)
    assert found.keys() == names
    assert (model.rows, model.scored, model.watched) == (rows, scored, bool(gamma))


def test_a_loss_without_any_weight_is_refused(tiny_llama, tokenizer):
    nothing = settings(cross_entropy=0.0, alpha=0.0, gamma=0.0)
    with pytest.raises(ValueError, match="every weight of the loss is 0"):
        train_contrastive(tiny_llama, tokenizer, TRAIN, VALIDATION, [0], nothing)


def test_each_pair_is_encoded_once(tiny_llama, tokenizer, monkeypatch):
    calls: list[str] = []
    encode = encoded_pairs.answer_tokens
    monkeypatch.setattr(
        encoded_pairs,
        "answer_tokens",
        lambda t, question, answer: calls.append(question) or encode(t, question, answer),
    )
    train_contrastive(tiny_llama, tokenizer, TRAIN, VALIDATION, [0], settings(epochs=3))
    assert len(calls) == 2 * (len(TRAIN) + len(VALIDATION))


def test_how_pairs_are_batched_and_padded_does_not_change_their_terms(tiny_model, tokenizer):
    chosen = settings(gamma=0.0)
    objective = Contrastive(tokenizer, [*TRAIN, Pair("long" * 9, "a", "b")], VALIDATION, LAYERS, chosen)
    run = FrozenPrefix(tiny_model)
    with torch.no_grad():
        alone = [objective.terms(run, [pair], judging=True) for pair in objective.train]
        together = objective.terms(run, objective.train, judging=True)
    for name, value in together.items():
        assert float(value) == pytest.approx(sum(float(t[name]) for t in alone) / len(alone), abs=1e-5)


def test_the_record_is_json():
    history = (Epoch(1, 2.0, 3.0, 0.5),)
    steps = (Step(1, 1, 2, 2.0, 9, 0.1, 0.5, 2.0, {"kl": 2.0}),)
    record = Training(history, steps, 7, 9, 1.5, None, {"empty window": 1}).record
    assert json.loads(json.dumps(record)) == record
    assert tuple(Epoch(**each) for each in record["history"]) == history
    assert tuple(Step(**each) for each in record["steps"]) == steps
