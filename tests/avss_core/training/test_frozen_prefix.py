from typing import Any

import pytest
import torch
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedModel

from avss_core.files.tensor_store import TensorStore, tensor_store
from avss_core.models.architectures import blocks
from avss_core.models.families import DECODERS
from avss_core.training.frozen_prefix import FrozenPrefix
from avss_core.training.lora import adapter_tensors, with_adapters
from avss_core.training.mitigation.mitigation import Contrastive, ContrastiveSettings
from avss_core.training.mitigation.pairs import Pair

DEPTH = 6
FULL, SLIDING = "full_attention", "sliding_attention"
KINDS = [FULL, SLIDING, SLIDING, FULL, SLIDING, FULL]
LAYERS = [3, 5]
_DRAW = torch.Generator().manual_seed(5)
# Of unequal lengths, most of them longer than the sliding window of 8.
SEQUENCES = [tuple(torch.randint(0, 256, (size,), generator=_DRAW).tolist()) for size in (24, 5, 17, 30)]
PAIRS = [
    Pair("How long is a rather long question?", "as long as this", "no"),
    Pair("b?", "no", "something else, much longer than the rest"),
    Pair("c?", "cc", "no"),
]
SETTINGS = ContrastiveSettings(
    epochs=1, learning_rate=0.0, batch_size=3, rank=4, patience=1, seed=0,
    alpha=1.0, beta=1.0, gamma=0.5, temperature=0.2,
)  # fmt: skip


@pytest.fixture(scope="module", params=sorted(DECODERS))
def dense(request: pytest.FixtureRequest, tiny: Any) -> PreTrainedModel:
    """Six layers of each family, with kinds of layers in no regular order where the family has kinds."""
    kinds = {"layer_types": KINDS} if request.param in {"qwen2", "qwen3"} else {}
    model: PreTrainedModel = tiny(request.param, DEPTH, **kinds)
    return model


@pytest.mark.parametrize("limit", [2**20, 0], ids=["memory", "disk"])
@pytest.mark.parametrize("first", [1, 3, 5])
def test_hidden_states_are_those_of_the_whole_model(
    dense: PreTrainedModel, first: int, limit: int, tmp_path: Any
) -> None:
    prefixed, whole = FrozenPrefix(dense, first, TensorStore(tmp_path, limit)), FrozenPrefix(dense)
    prefixed.prepare(SEQUENCES, 3)
    assert bool([*tmp_path.iterdir()]) == (limit == 0)
    found: dict[int, Any] = {}
    expected: dict[int, Any] = {}
    # In other batches than those in which they were prepared.
    for part in (SEQUENCES[1:3], SEQUENCES[::-1]):
        with torch.no_grad():
            batch, hidden = prefixed(part, lambda index, seen: found.update({index: seen["output"]}))
            _, other = whole(part, lambda index, seen: expected.update({index: seen["output"]}))
        real = batch.attention
        torch.testing.assert_close(hidden[real], other[real], rtol=1e-4, atol=1e-4)
        torch.testing.assert_close(
            prefixed.logits(hidden[real]),
            dense(**batch.inputs(dense.device)).logits[real],
            rtol=1e-4,
            atol=1e-4,
        )
        assert list(found) == list(range(first, DEPTH))
        for layer, output in found.items():
            torch.testing.assert_close(output[real], expected[layer][real], rtol=1e-4, atol=1e-4)


def loss_and_gradients(model: PreTrainedModel, tokenizer: Any, store: TensorStore | None) -> tuple[Any, Any]:
    with torch.random.fork_rng():
        torch.manual_seed(1)
        adapted = with_adapters(model, LAYERS, 4)
        for tensor in adapter_tensors(adapted).values():  # else half of them are 0, and so are gradients
            torch.nn.init.normal_(tensor, std=0.05)
    objective = Contrastive(tokenizer, PAIRS, PAIRS, LAYERS, SETTINGS)
    run = FrozenPrefix(adapted.get_base_model(), min(LAYERS), store)
    run.prepare([ids for pair in objective.train for ids in pair.sequences], 4)
    terms = objective.terms(run, objective.train, judging=False)
    loss = torch.stack([objective.weights[name] * term for name, term in terms.items()]).sum()
    torch.autograd.backward(loss)
    return loss.detach(), {name: tensor.grad for name, tensor in adapter_tensors(adapted).items()}


@pytest.mark.parametrize("family", ["llama", "gpt2", "gemma2", "falcon", "opt"])
def test_loss_and_gradients_are_those_of_the_whole_model(family: str, tiny: Any, tokenizer: Any) -> None:
    model = tiny(family, DEPTH)
    with tensor_store(None, 2**30) as store:
        loss, gradients = loss_and_gradients(model, tokenizer, store)
    expected, others = loss_and_gradients(model, tokenizer, None)
    torch.testing.assert_close(loss, expected, rtol=1e-5, atol=1e-5)
    assert gradients.keys() == others.keys()
    for name, gradient in gradients.items():
        torch.testing.assert_close(gradient, others[name], rtol=1e-5, atol=1e-5)
        assert gradient.abs().max() > 1e-4, name


def test_a_rule_by_index_does_not_matter_where_no_block_moves(tiny: Any) -> None:
    model = tiny("gpt2", 4, scale_attn_by_inverse_layer_idx=True)
    with tensor_store(None, 2**30) as store, torch.no_grad():
        run = FrozenPrefix(model, 2, store)
        run.prepare(SEQUENCES, 4)
        batch, hidden = run(SEQUENCES)
        _, expected = FrozenPrefix(model)(SEQUENCES)
        torch.testing.assert_close(hidden[batch.attention], expected[batch.attention])


def test_each_frozen_block_runs_once_for_each_distinct_sequence(tiny_llama: Any, tmp_path: Any) -> None:
    rows: dict[int, int] = dict.fromkeys(range(DEPTH), 0)

    def count(layer: int) -> Any:
        return lambda _block, args, _out: rows.update({layer: rows[layer] + len(args[0])})

    handles = [block.register_forward_hook(count(i)) for i, block in enumerate(blocks(tiny_llama))]
    told: list[int] = []
    try:
        run = FrozenPrefix(tiny_llama, 3, TensorStore(tmp_path, 2**20))
        run.prepare([*SEQUENCES, *SEQUENCES], 3, told.append)
        run.prepare(SEQUENCES, 2)
        assert rows == {0: 4, 1: 4, 2: 4, 3: 0, 4: 0, 5: 0}
        for _ in range(3):
            run(SEQUENCES)
        assert rows == {0: 4, 1: 4, 2: 4, 3: 12, 4: 12, 5: 12}
    finally:
        for handle in handles:
            handle.remove()
    assert told == [3, 1]


def test_a_sequence_that_was_not_prepared_runs_through_the_whole_model(
    tiny_llama: Any, tmp_path: Any
) -> None:
    run = FrozenPrefix(tiny_llama, 3, TensorStore(tmp_path, 2**20))
    run.prepare(SEQUENCES[:1], 1)
    with torch.no_grad():
        assert torch.equal(run(SEQUENCES[:2])[1], FrozenPrefix(tiny_llama)(SEQUENCES[:2])[1])


def test_states_are_kept_in_the_dtype_of_the_model(tiny: Any, tmp_path: Any) -> None:
    model = tiny("llama", 4).to(torch.bfloat16)
    store = TensorStore(tmp_path, 0)
    FrozenPrefix(model, 2, store).prepare(SEQUENCES, 4)
    assert store.get(SEQUENCES[0])["hidden"].dtype == torch.bfloat16


def test_the_model_stays_as_it_is(dense: PreTrainedModel, tmp_path: Any) -> None:
    settings, modules = dense.config.to_dict(), [(name, id(module)) for name, module in dense.named_modules()]
    run = FrozenPrefix(dense, 2, TensorStore(tmp_path, 2**20))
    run.prepare(SEQUENCES, 2)
    run(SEQUENCES, lambda *_: None)
    assert dense.config.to_dict() == settings
    assert [(name, id(module)) for name, module in dense.named_modules()] == modules
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in dense.modules())


def test_a_family_that_does_more_to_its_logits_is_refused() -> None:
    config = AutoConfig.for_model(
        "cohere", vocab_size=32, hidden_size=16, intermediate_size=16, num_hidden_layers=2,
        num_attention_heads=2, num_key_value_heads=2, logit_scale=0.25,
    )  # fmt: skip
    model = AutoModelForCausalLM.from_config(config).eval()
    with pytest.raises(ValueError, match="model type 'cohere' is not supported: its logits"):
        FrozenPrefix(model).check_head((1, 2, 3))
    config.logit_scale = 1.0
    FrozenPrefix(AutoModelForCausalLM.from_config(config).eval()).check_head((1, 2, 3))
