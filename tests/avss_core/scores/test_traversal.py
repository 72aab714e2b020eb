import itertools
import math
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import torch
from torch.nn.functional import cross_entropy
from transformers import PreTrainedModel

from avss_core.evaluation.perplexity import LanguageModelling, language_modelling
from avss_core.models.architectures import blocks
from avss_core.models.families import DECODERS
from avss_core.models.views import without_layers
from avss_core.scores.traversal import LayerInputs, greedy_order, layer_inputs, loss_without, traverse
from avss_core.surgery.pruning import prune

DEPTH = 6
FULL, SLIDING = "full_attention", "sliding_attention"
KINDS = [FULL, SLIDING, SLIDING, FULL, SLIDING, FULL]
# Three windows of 24, longer than the sliding window of 8, and a shorter one.
WINDOW = 24
IDS = torch.randint(0, 256, (3 * WINDOW + 10,), generator=torch.Generator().manual_seed(5)).tolist()
BATCHES = 3  # of two, one and the short one


@pytest.fixture(scope="module", params=sorted(DECODERS))
def dense(request: pytest.FixtureRequest, tiny: Any) -> PreTrainedModel:
    """Six layers of each family, with kinds of layers in no regular order where the family has kinds."""
    kinds = {"layer_types": KINDS} if request.param in {"qwen2", "qwen3"} else {}
    model: PreTrainedModel = tiny(request.param, DEPTH, **kinds)
    return model


@torch.inference_mode()
def oracle(model: PreTrainedModel, removed: list[int], context: int) -> list[float]:
    """Return the mean loss of each window of a pruned copy, from the logits of one window at a time."""
    pruned, means = prune(model, removed), []
    for start in range(context, len(IDS) - 1, WINDOW):
        tokens = torch.tensor(IDS[start - context : start + WINDOW + 1])
        logits = pruned(tokens[None, :-1], use_cache=False).logits[0]
        means.append(float(cross_entropy(logits[context:], tokens[context + 1 :])))
    return means


def inputs_of(model: PreTrainedModel, removed: tuple[int, ...] = (), context: int = 0) -> LayerInputs:
    return layer_inputs(model, IDS, "a b", window=WINDOW, context=context, batch_size=2, removed=removed)


def direct(model: PreTrainedModel, removed: list[int], context: int = 0) -> LanguageModelling:
    view = without_layers(model, removed)
    return language_modelling(view, IDS, "a b", window=WINDOW, context=context, batch_size=2)


@pytest.mark.parametrize(("base", "context"), [((), 0), ((2,), 11), ((4, 1), 0)], ids=str)
def test_each_loss_is_that_of_the_pruned_model(
    dense: PreTrainedModel, base: tuple[int, ...], context: int
) -> None:
    inputs = inputs_of(dense, base, context)
    left = [layer for layer in range(DEPTH) if layer not in base]
    losses = {layer: loss_without(dense, inputs, layer) for layer in left}
    for layer, found in losses.items():
        assert found.window_means == pytest.approx(oracle(dense, [*base, layer], context), abs=1e-5)
        assert found == direct(dense, [*base, layer], context), "to the bit"
    for one, other in itertools.combinations(losses.values(), 2):
        gaps = [abs(a - b) for a, b in zip(one.window_means, other.window_means, strict=True)]
        assert max(gaps) > 1e-3, "a mix-up of layers would not show"
    sizes = {"window": WINDOW, "context": context, "batch_size": 2}
    assert traverse(dense, IDS, "a b", **sizes, removed=base) == losses


def test_the_last_but_one_layer_can_go(tiny_model: PreTrainedModel) -> None:
    inputs = inputs_of(tiny_model, (0, 1, 3, 5))
    for layer in (2, 4):
        assert loss_without(tiny_model, inputs, layer) == direct(tiny_model, [0, 1, 3, 5, layer])


def test_the_inputs_are_the_hidden_states(dense: PreTrainedModel) -> None:
    inputs = inputs_of(dense, (3,))
    assert list(inputs.states) == [0, 1, 2, 4, 5]
    assert len(inputs.batches) == BATCHES
    pruned = prune(dense, [3])
    for place, batch in enumerate(inputs.batches):
        with torch.inference_mode():
            hidden = pruned(batch[:, :-1], use_cache=False, output_hidden_states=True).hidden_states
        assert all(
            torch.equal(states[place], expected)
            for states, expected in zip(inputs.states.values(), hidden[:-1], strict=True)
        )


@pytest.mark.parametrize("base", [(), (0,), (3,)], ids=str)
def test_a_traversal_runs_half_the_blocks(tiny_model: PreTrainedModel, base: tuple[int, ...]) -> None:
    calls: list[int] = []
    handles = [
        block.register_forward_hook(lambda *_, layer=layer: calls.append(layer))
        for layer, block in enumerate(blocks(tiny_model))
    ]
    try:
        traverse(tiny_model, IDS, window=WINDOW, batch_size=2, removed=base)
    finally:
        for handle in handles:
            handle.remove()
    left = DEPTH - len(base)
    assert len(calls) == BATCHES * (left + sum(left - 1 - i for i in range(left)))
    assert not set(base) & set(calls)


def test_a_traversal_leaves_no_trace(dense: PreTrainedModel) -> None:
    settings, state = dense.config.to_dict(), {name: t.clone() for name, t in dense.state_dict().items()}
    modules = [(name, id(module)) for name, module in dense.named_modules()]
    traverse(dense, IDS, window=WINDOW, removed=[1])
    assert dense.config.to_dict() == settings
    assert [(name, id(module)) for name, module in dense.named_modules()] == modules
    assert all(torch.equal(tensor, state[name]) for name, tensor in dense.state_dict().items())
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in dense.modules())


def test_threads_can_share_a_model(dense: PreTrainedModel) -> None:
    bases: list[list[int]] = [[], [0], [5], [2, 4]]
    expected = [traverse(dense, IDS, window=WINDOW, removed=base) for base in bases]
    with ThreadPoolExecutor(4) as pool:
        for _ in range(3):
            found = pool.map(lambda base: traverse(dense, IDS, window=WINDOW, removed=base), bases)
            assert list(found) == expected


def test_candidates_alone_are_removed_and_progress_is_told(tiny_llama: PreTrainedModel) -> None:
    done: list[int] = []
    found = traverse(tiny_llama, IDS, window=WINDOW, batch_size=2, candidates=[4, 2], progress=done.append)
    assert list(found) == [4, 2]
    assert done == [2, 1, 1] * 3


def test_by_default_windows_are_those_of_language_modelling(tiny_llama: PreTrainedModel) -> None:
    found = traverse(tiny_llama, IDS, candidates=[3])
    assert found == {3: language_modelling(without_layers(tiny_llama, [3]), IDS, "")}


@pytest.mark.parametrize(
    ("base", "layer", "message"),
    [
        ((2,), 2, r"a layer is named twice in \[2, 2\]"),
        ((), 6, "layer 6 does not exist: the model has layers 0 to 5"),
        ((), -1, "layer -1 does not exist"),
        ((0, 1, 2, 3, 4), 5, "cannot remove all 6 layers"),
    ],
)
def test_layers_that_cannot_go_are_refused(
    tiny_llama: PreTrainedModel, base: tuple[int, ...], layer: int, message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        loss_without(tiny_llama, inputs_of(tiny_llama, base), layer)
    told: list[int] = []
    with pytest.raises(ValueError, match=message):
        traverse(tiny_llama, IDS, removed=base, candidates=[layer], progress=told.append)
    assert not told, "before any work"


def test_a_base_set_and_a_stream_that_do_not_fit_are_refused(tiny_llama: PreTrainedModel) -> None:
    with pytest.raises(ValueError, match="layer 6 does not exist"):
        layer_inputs(tiny_llama, IDS, removed=[6])
    with pytest.raises(ValueError, match="a text of 1 tokens has nothing to predict"):
        layer_inputs(tiny_llama, [1])
    with pytest.raises(ValueError, match="window of 500 tokens does not fit the model's 128 positions"):
        layer_inputs(tiny_llama, list(range(200)), window=500)


def test_a_loss_that_is_not_a_number_is_refused(tiny: Any) -> None:
    model = tiny("llama", layers=3)
    model.model.norm.weight.data[0] = math.nan
    with pytest.raises(ValueError, match="the loss is not a finite number"):
        traverse(model, IDS)


def pairs(removed: Any) -> dict[int, float]:
    """A loss in which 0 and 1 can stand in for each other: either alone is cheap, both are dear."""
    losses = {0: 1.0, 1: 1.1, 2: 2.0, 3: 2.0, 4: 0.0}
    if {0, 1} & set(removed):
        losses[0] = losses[1] = 9.0
    return {layer: loss for layer, loss in losses.items() if layer not in removed}


def test_greedy_looks_again_after_each_removal_and_ties_go_by_index() -> None:
    asked: list[list[int]] = []

    def loss_of(removed: Any) -> dict[int, float]:
        asked.append(removed)
        return pairs(removed)

    assert greedy_order(loss_of, 4, [3, 2, 1, 0]) == [0, 2, 3, 1]
    assert asked == [[], [0], [0, 2], [0, 2, 3]]
    assert greedy_order(pairs, 0, [0]) == greedy_order(pairs, 0, []) == []
    assert greedy_order(pairs, 1, [2]) == [2]


def test_greedy_is_the_best_choice_at_each_step_of_a_model(tiny_llama: PreTrainedModel) -> None:
    def loss_of(removed: Any) -> dict[int, float]:
        found = traverse(tiny_llama, IDS, window=WINDOW, removed=removed)
        return {layer: losses.nll_per_token for layer, losses in found.items()}

    order = greedy_order(loss_of, 2, range(1, 5))
    removed: list[int] = []
    for layer in order:
        losses = {
            free: direct(tiny_llama, [*removed, free]).nll for free in range(1, 5) if free not in removed
        }
        assert losses[layer] == min(losses.values())
        removed.append(layer)


@pytest.mark.parametrize("count", [-1, 3])
def test_greedy_needs_enough_candidates(count: int) -> None:
    with pytest.raises(ValueError, match=f"cannot remove {count} layers: there are 2 candidates"):
        greedy_order(pairs, count, [1, 2, 2])
