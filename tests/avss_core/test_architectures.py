from typing import Any

import pytest
import torch
from transformers import PretrainedConfig, PreTrainedModel

from avss_core.architectures import ARCHITECTURES, architecture, blocks, depth


@pytest.mark.parametrize("family", sorted(ARCHITECTURES))
def test_every_record_names_parts_that_the_family_has(tiny: Any, family: str) -> None:
    model: PreTrainedModel = tiny(family, 3)
    record = architecture(model.config)
    assert record is ARCHITECTURES[family]
    assert len(blocks(model)) == depth(model.config) == 3
    assert record.depth in model.config.to_dict()
    for block in blocks(model):
        matrices = {
            name.rpartition(".")[2]: module
            for name, module in block.named_modules()
            if getattr(module, "weight", None) is not None and module.weight.ndim == 2
        }
        assert matrices.keys() == set(record.linear), (
            "LoRA reaches each linear map of a block, and nothing else"
        )
        assert {not isinstance(module, torch.nn.Linear) for module in matrices.values()} == {
            record.fan_in_fan_out
        }


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("mistra1", r"model type 'mistra1' is not supported \(nearest: mistral\); known types: bert, "),
        ("t5", r"model type 't5' is not supported; known types: bert, .*, stablelm\. Add a record"),
        ("", r"model type '' is not supported; known types: bert, "),
    ],
)
def test_an_unknown_family_is_named(name: str, message: str) -> None:
    config = PretrainedConfig()
    config.model_type = name
    for look in (architecture, depth):
        with pytest.raises(LookupError, match=message):
            look(config)


def test_a_list_of_blocks_of_another_length_than_configured_is_refused(tiny: Any) -> None:
    model = tiny("llama", 3)
    del model.model.layers[1]
    with pytest.raises(
        ValueError, match=r"model\.layers of a llama model holds ModuleList, expected a list of 3"
    ):
        blocks(model)
