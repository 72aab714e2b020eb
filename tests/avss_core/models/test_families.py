"""Every family loses the same irregular set of layers; what is broken on purpose must be seen."""

import copy
import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor
from transformers import AutoModel, AutoModelForSequenceClassification, PreTrainedModel

from avss_core.files.writing import write_json
from avss_core.models.architectures import ARCHITECTURES, block_path, blocks, depth
from avss_core.models.configuration import kept_layers
from avss_core.models.families import DECODERS, ENCODERS
from avss_core.models.sizes import parameter_bytes, parameter_count
from avss_core.models.views import without_layers
from avss_core.surgery import certificate, checks
from avss_core.surgery.certificate import inspect_with_logits, kept_source, write_certified
from avss_core.surgery.numbering import layer_map
from avss_core.surgery.pruning import prune

DEPTH, REMOVED = 8, [1, 4, 6]
KEPT = [0, 2, 3, 5, 7]
# Longer than the window of 8, so that the kind of each layer shows in the logits.
PROMPT = torch.randint(0, 256, (2, 24), generator=torch.Generator().manual_seed(9))
CLASSES = {"body": AutoModel, "classifier": AutoModelForSequenceClassification}
VARIANTS: dict[str, dict[str, Any]] = {
    "falcon-alibi": {"alibi": True, "bias": True},
    "falcon-grouped": {"new_decoder_architecture": True, "num_kv_heads": 2},
    "falcon-serial": {"parallel_attn": False, "multi_query": False},
    "gemma3_text-capped": {"final_logit_softcapping": 5.0},
    "phi-normed": {"qk_layernorm": True},
    "stablelm-parallel": {"use_parallel_residual": True},
}
CASES = [
    *sorted(ARCHITECTURES),
    *VARIANTS,
    *(f"{name}-{kind}" for name in sorted(ENCODERS) for kind in CLASSES),
]
# What writes into the residual stream: zero, and the block adds nothing.
OUTWARD = {"c_proj", "dense", "dense_4h_to_h", "down_proj", "fc2", "o_proj", "out_proj"}
LISTS = {
    "gemma2": ("layer_types",),
    "gemma3_text": ("layer_types",),
    "gpt_neo": ("attention_layers",),
    "olmo3": ("layer_types",),
    "qwen2": ("layer_types",),
    "qwen3": ("layer_types",),
    "smollm3": ("layer_types", "no_rope_layers"),
}
FULL, SLIDING = "full_attention", "sliding_attention"
KINDS = [FULL, SLIDING, SLIDING, FULL, SLIDING, FULL, FULL, SLIDING]


@pytest.fixture(scope="module", params=CASES)
def dense(request: pytest.FixtureRequest, tiny: Any) -> PreTrainedModel:
    """Eight layers, with kinds in no regular order where the family has kinds; read-only."""
    kind = next((kind for kind in CLASSES if request.param.endswith(f"-{kind}")), "")
    family = request.param if request.param in ARCHITECTURES else request.param.rpartition("-")[0]
    settings = {"layer_types": KINDS} if "qwen" in family else VARIANTS.get(request.param, {})
    model: PreTrainedModel = tiny(family, DEPTH, auto=CLASSES.get(kind), **settings)
    return model


@pytest.fixture(scope="module")
def pruned(dense: PreTrainedModel) -> PreTrainedModel:
    return prune(dense, REMOVED)


@pytest.fixture(scope="module")
def reloaded(pruned: PreTrainedModel, tmp_path_factory: pytest.TempPathFactory) -> PreTrainedModel:
    """The pruned model, saved and loaded with plain transformers."""
    folder = tmp_path_factory.mktemp("plain")
    pruned.save_pretrained(folder)
    loaded, loading = type(pruned).from_pretrained(folder, output_loading_info=True)
    assert not any(loading.values())
    return loaded.eval()


@pytest.fixture(scope="module")
def template(dense: PreTrainedModel, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A certified checkpoint of the pruned model."""
    folder = tmp_path_factory.mktemp("certified") / "model"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(certificate, "inspect_afresh", inspect_with_logits)
        write(dense, prune(dense, REMOVED), folder)
    return folder


@pytest.fixture
def written(template: Path, tmp_path: Path) -> Path:
    """A copy of the certified checkpoint, to be broken."""
    return Path(shutil.copytree(template, tmp_path / "written"))


def write(dense: PreTrainedModel, pruned: PreTrainedModel, folder: Path) -> None:
    source = kept_source(dense.state_dict(), block_path(dense), KEPT)
    write_certified(pruned, None, folder, source=source, layer_map=KEPT, provenance={})


def failed(folder: Path) -> set[str]:
    return {check.name for check in inspect_with_logits(folder)[0] if not check.passed}


def outputs(model: Any) -> Tensor:
    """Return the logits, or the last hidden state of a model without a head."""
    options = {"use_cache": False} if model.config.model_type in DECODERS else {}
    with torch.inference_mode():
        result = model(PROMPT, attention_mask=torch.ones_like(PROMPT), **options)
    found: Tensor = result.logits if hasattr(result, "logits") else result.last_hidden_state
    return found


def generated(model: Any, cached: bool) -> list[list[int]]:
    ids = model.generate(
        PROMPT, attention_mask=torch.ones_like(PROMPT), do_sample=False, min_new_tokens=12, max_new_tokens=12,
        use_cache=cached,
    )  # fmt: skip
    found: list[list[int]] = ids[:, PROMPT.shape[1] :].tolist()
    return found


def only(model: PreTrainedModel, *, causal: bool = False, lists: bool = False, head: bool = False) -> Any:
    """Return the model where it has a feature, else leave the test out."""
    name = model.config.model_type
    if causal and name not in DECODERS:
        pytest.skip("predicts no next token")
    if lists and name not in LISTS:
        pytest.skip("its layers are of one kind")
    if head and model.get_output_embeddings() is None:
        pytest.skip("has no head over the vocabulary")
    return model


def configure(folder: Path, **settings: Any) -> None:
    path = folder / "config.json"
    write_json(path, json.loads(path.read_text()) | settings)


def renumbered(model: PreTrainedModel, numbers: list[int]) -> None:
    """Give each block the index of another place, as surgery by hand leaves it."""
    for number, block in zip(numbers, blocks(model), strict=True):
        for module in block.modules():
            for name in {"layer_idx", "layer_id"} & vars(module).keys():
                setattr(module, name, number)


def test_keys(dense: PreTrainedModel, reloaded: PreTrainedModel) -> None:
    assert type(reloaded) is type(dense)
    assert len(blocks(reloaded)) == depth(reloaded.config) == len(KEPT)


def test_tensors(dense: PreTrainedModel, reloaded: PreTrainedModel) -> None:
    path, source, found = f"{block_path(dense)}.", dense.state_dict(), reloaded.state_dict()
    expected = {name: tensor for name, tensor in source.items() if not name.startswith(path)}
    for new, old in enumerate(KEPT):
        for name, tensor in blocks(dense)[old].state_dict().items():
            expected[f"{path}{new}.{name}"] = tensor
    assert expected.keys() == found.keys()
    assert all(torch.equal(tensor, found[name]) for name, tensor in expected.items())


def test_logits(dense: PreTrainedModel, pruned: PreTrainedModel, reloaded: PreTrainedModel) -> None:
    assert torch.equal(outputs(reloaded), outputs(pruned))
    assert torch.equal(outputs(without_layers(dense, REMOVED)), outputs(pruned))
    assert (outputs(dense) - outputs(pruned)).abs().max() > 0.1, "these layers must matter"


def test_cache(pruned: PreTrainedModel, reloaded: PreTrainedModel) -> None:
    only(pruned, causal=True)
    expected = generated(pruned, cached=False)
    assert len({token for row in expected for token in row}) > 1
    assert generated(pruned, cached=True) == expected
    assert generated(reloaded, cached=True) == generated(reloaded, cached=False) == expected


def test_tied(pruned: PreTrainedModel, reloaded: PreTrainedModel) -> None:
    only(pruned, head=True)
    for model in (pruned, reloaded):
        tied = model.get_output_embeddings().weight is model.get_input_embeddings().weight
        assert tied == model.config.tie_word_embeddings is True


def test_untied(dense: PreTrainedModel, tiny: Any, tmp_path: Path) -> None:
    only(dense, head=True)
    model = prune(tiny(dense.config.model_type, 3, tie_word_embeddings=False), [1])
    model.save_pretrained(tmp_path)
    loaded, loading = type(model).from_pretrained(tmp_path, output_loading_info=True)
    assert not any(loading.values())
    assert loaded.get_output_embeddings().weight is not loaded.get_input_embeddings().weight
    assert torch.equal(outputs(loaded.eval()), outputs(model))


def test_size(dense: PreTrainedModel, reloaded: PreTrainedModel) -> None:
    gone = [parameter for layer in REMOVED for parameter in blocks(dense)[layer].parameters()]
    assert parameter_count(dense) - parameter_count(reloaded) == sum(tensor.numel() for tensor in gone) > 0
    assert parameter_bytes(dense) - parameter_bytes(reloaded) == sum(tensor.nbytes for tensor in gone)


def test_lists(dense: PreTrainedModel, reloaded: PreTrainedModel) -> None:
    for name in LISTS[only(dense, lists=True).config.model_type]:
        before, after = getattr(dense.config, name), getattr(reloaded.config, name)
        assert after == [before[layer] for layer in KEPT] != before[: len(KEPT)]


def test_identity(dense: PreTrainedModel) -> None:
    """A block that adds nothing can go, and not a bit of the logits changes."""
    family = dense.config.model_type
    model = copy.deepcopy(dense)
    for layer in REMOVED:
        if family in ENCODERS:  # they normalise behind the sum, so that no weights make a block an identity
            blocks(model)[layer].register_forward_hook(
                lambda _block, args, result: args[:1] if isinstance(result, tuple) else args[0]
            )
        for name, module in blocks(model)[layer].named_modules():
            if name.rpartition(".")[2] in OUTWARD:
                for parameter in module.parameters():
                    parameter.detach().zero_()
    assert torch.equal(outputs(prune(model, REMOVED)), outputs(model))
    assert torch.equal(outputs(without_layers(model, REMOVED)), outputs(model))


def test_certificate(template: Path) -> None:
    assert failed(template) == set()
    assert layer_map(template, len(KEPT)) == KEPT == kept_layers(DEPTH, REMOVED)


def test_broken_index(dense: PreTrainedModel, written: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    load = checks.load_model
    only(dense, causal=True)
    for numbers in (KEPT, [0, 1, 2, 3, 3]):  # not renumbered; two layers of one number

        def stale(name: str, numbers: list[int] = numbers, **options: Any) -> PreTrainedModel:
            model = load(name, **options)
            renumbered(model, numbers)
            return model

        monkeypatch.setattr(checks, "load_model", stale)
        assert failed(written) == {"cache"}


def test_broken_lists(dense: PreTrainedModel, template: Path, tmp_path: Path) -> None:
    for name in LISTS[only(dense, lists=True).config.model_type]:
        folder = Path(shutil.copytree(template, tmp_path / name))
        cut = getattr(dense.config, name)[: len(KEPT)]
        configure(folder, **{name: cut}, **({"attention_types": [[cut, 1]]} if "attention" in name else {}))
        assert failed(folder) == {"configuration", "logits"}
        short = getattr(dense.config, name)[:3]
        configure(
            folder, **{name: short}, **({"attention_types": [[short, 1]]} if "attention" in name else {})
        )
        assert failed(folder) == {"configuration", "loads with transformers"}


def test_broken_tie(dense: PreTrainedModel, written: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    load = checks.load_model
    only(dense, head=True)

    def untied(name: str, **options: Any) -> Any:
        model: Any = load(name, **options)
        head = model.get_output_embeddings()
        head.weight = torch.nn.Parameter(head.weight.clone())
        return model

    with monkeypatch.context() as patch:
        patch.setattr(checks, "load_model", untied)
        assert failed(written) == {"parameters", "tied weights"}
    configure(written, tie_word_embeddings=False)
    assert failed(written) == {"configuration", "loads with transformers"}


def test_broken_tensors(dense: PreTrainedModel, written: Path, tmp_path: Path) -> None:
    path = written / "model.safetensors"
    tensors = load_file(path)
    names = [f"{block_path(dense)}.{layer}.{next(iter(blocks(dense)[0].state_dict()))}" for layer in (0, 3)]
    first, second = (tensors[name] for name in names)
    save_file(tensors | {names[0]: second.clone(), names[1]: first.clone()}, path, metadata={"format": "pt"})
    assert failed(written) == {"stored tensors"}


def test_broken_choice(
    dense: PreTrainedModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:  # the first layers, as setting the depth alone keeps them
    monkeypatch.setattr(certificate, "inspect_afresh", inspect_with_logits)
    with pytest.raises(ValueError, match=r"tensors equal to the source \(differ: "):
        write(dense, prune(dense, [5, 6, 7]), tmp_path)


def test_broken_depth(dense: PreTrainedModel, written: Path) -> None:
    for layers in (DEPTH, len(KEPT) + 1, len(KEPT) - 1):
        configure(written, **{"num_hidden_layers": layers, **depth_settings(dense, layers)})
        assert failed(written) == {"configuration", "loads with transformers"}


def depth_settings(model: PreTrainedModel, layers: int) -> dict[str, int]:
    names = {"num_hidden_layers", "n_layer", "n_layers", "num_layers"} & model.config.to_dict().keys()
    return dict.fromkeys(names, layers)
