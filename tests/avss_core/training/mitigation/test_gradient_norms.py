"""The norm of each layer's gradient before the first step."""

import dataclasses

import pytest
import torch

from avss_core.models.architectures import blocks
from avss_core.training.frozen_prefix import FrozenPrefix
from avss_core.training.mitigation.gradient_norms import gradient_norms
from avss_core.training.mitigation.mitigation import Contrastive
from tests.avss_core.training.mitigation.test_mitigation import SETTINGS, TRAIN, VALIDATION

CROSS_ENTROPY = dataclasses.replace(SETTINGS, alpha=0.0, gamma=0.0)


@pytest.fixture
def model(tiny):
    return tiny("llama", layers=3)


def _objective(tokenizer, pairs=TRAIN, settings=CROSS_ENTROPY):
    return Contrastive(tokenizer, pairs, VALIDATION, range(3), settings)


def test_the_square_is_what_a_small_step_on_the_layer_alone_gains(model, tokenizer):
    objective, step = _objective(tokenizer), 1e-4
    norms = gradient_norms(model, objective, batch_size=2)
    assert norms.shape == (3,)
    model.double()
    exact = gradient_norms(model, objective)
    assert torch.allclose(norms, exact, rtol=1e-4)

    def loss():
        return objective.terms(FrozenPrefix(model), objective.train, judging=False)["cross_entropy"]

    for layer, norm in enumerate(exact):
        weights = list(blocks(model)[layer].parameters())
        before = loss()
        slopes = torch.autograd.grad(before, weights)
        with torch.no_grad():
            for weight, slope in zip(weights, slopes, strict=True):
                weight -= step * slope
            gained = before - loss()
            for weight, slope in zip(weights, slopes, strict=True):
                weight += step * slope
        assert float(gained) == pytest.approx(step * float(norm) ** 2, rel=0.02)


def test_batches_do_not_matter_and_the_model_stays_as_it_was(model, tokenizer):
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    norms = [gradient_norms(model, _objective(tokenizer), batch_size=size) for size in (1, 2, 5)]
    assert all(torch.allclose(each, norms[0], rtol=1e-4) for each in norms)
    assert all(torch.equal(before[name], tensor) for name, tensor in model.state_dict().items())
    assert all(weight.grad is None for weight in model.parameters())


def test_a_layer_that_adds_nothing_has_the_gradient_of_its_last_maps_alone(model, tokenizer):
    with torch.no_grad():
        blocks(model)[1].self_attn.o_proj.weight.zero_()
        blocks(model)[1].mlp.down_proj.weight.zero_()
    norms = gradient_norms(model, _objective(tokenizer))
    assert norms.isfinite().all()
    assert (norms > 0).all()


def test_without_pairs_there_is_no_gradient(model, tokenizer):
    with pytest.raises(ValueError, match="a gradient needs training pairs"):
        gradient_norms(model, _objective(tokenizer, pairs=[]))
