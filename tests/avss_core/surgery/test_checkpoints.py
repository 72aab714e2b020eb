import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import PreTrainedModel, PreTrainedTokenizerFast

from avss_core.files.digests import digest_path
from avss_core.files.shards import SINGLE, stored_tensors
from avss_core.files.writing import folder_written_whole, read_json, write_json
from avss_core.models import loading as models
from avss_core.models.families import DECODERS
from avss_core.models.loading import DTYPES, load_model
from avss_core.models.saving import save_checkpoint, save_config
from avss_core.models.sizes import parameter_count
from avss_core.surgery import certificate, checkpoints, checks
from avss_core.surgery.certificate import inspect_with_logits, write_certified_copy
from avss_core.surgery.checkpoints import plan_copy, write_copy
from avss_core.surgery.probe import probe_logits
from avss_core.surgery.pruning import prune

REMOVED = [0, 2, 3]
KEPT = [1, 4, 5]


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


def save(model: PreTrainedModel, folder: Path, dtype: str, size: str) -> Path:
    model.to(DTYPES[dtype]).save_pretrained(folder, max_shard_size=size)
    return folder


def in_memory(source: Path, folder: Path, dtype: str, size: str) -> Path:
    model = prune(load_model(str(source), dtype=dtype), REMOVED)
    model.save_pretrained(folder, max_shard_size=size)
    save_config(model.config, folder)
    return folder


def copied(source: Path, folder: Path, dtype: str, size: str = "5GB") -> Path:
    plan = plan_copy(source, REMOVED, dtype)
    assert plan is not None
    folder.mkdir()
    write_copy(plan, folder, size)
    return folder


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("family", ["llama", "gpt2", "opt"])
@pytest.mark.parametrize("sizes", [("5GB", "5GB"), ("40KB", "30KB")], ids=["single", "sharded"])
def test_every_file_is_that_of_the_pruned_model_in_memory(
    tiny: Any, tmp_path: Path, family: str, dtype: str, sizes: tuple[str, str]
) -> None:
    source = save(tiny(family), tmp_path / "source", dtype, sizes[0])
    before = contents(source)
    expected = contents(in_memory(source, tmp_path / "memory", dtype, sizes[1]))
    found = contents(copied(source, tmp_path / "copy", dtype, sizes[1]))
    assert len(found) == 3 if sizes[1] == "5GB" else len(found) > 4
    assert found == expected
    assert contents(source) == before


@pytest.mark.parametrize(
    ("family", "settings"),
    [
        ("llama", {"tie_word_embeddings": False}),
        ("gpt_neox", {}),
        ("mistral", {}),
        ("qwen2", {"layer_types": ["full_attention"] * 4 + ["sliding_attention"] * 2}),
        ("qwen3", {"tie_word_embeddings": False}),
        *((family, {}) for family in sorted(DECODERS.keys() - {"llama", "gpt2", "opt"})),
    ],
)
def test_other_families_and_heads_of_their_own(
    tiny: Any, tmp_path: Path, family: str, settings: dict[str, Any]
) -> None:
    source = save(tiny(family, **settings), tmp_path / "source", "float32", "90KB")
    expected = contents(in_memory(source, tmp_path / "memory", "float32", "5GB"))
    assert contents(copied(source, tmp_path / "copy", "float32")) == expected


@pytest.mark.parametrize("kept", [True, False])
def test_generation_settings_are_those_of_the_model_in_memory(
    tiny_llama: PreTrainedModel, tmp_path: Path, kept: bool
) -> None:
    source = tmp_path / "source"
    tiny_llama.save_pretrained(source)
    if kept:
        write_json(source / "generation_config.json", {"do_sample": True, "top_k": 7, "eos_token_id": [1, 2]})
    else:
        (source / "generation_config.json").unlink()
    expected = contents(in_memory(source, tmp_path / "memory", "float32", "5GB"))
    assert contents(copied(source, tmp_path / "copy", "float32")) == expected


def test_old_names_of_the_dtype_and_an_old_place_do_not_survive(checkpoint: Path, tmp_path: Path) -> None:
    config = read_json(checkpoint / "config.json")
    del config["dtype"]
    write_json(checkpoint / "config.json", config | {"torch_dtype": "bfloat16", "_name_or_path": "secret"})
    expected = contents(in_memory(checkpoint, tmp_path / "memory", "float32", "5GB"))
    found = contents(copied(checkpoint, tmp_path / "copy", "float32"))
    assert found == expected
    written = read_json(tmp_path / "copy" / "config.json")
    assert (written["dtype"], written["torch_dtype"]) == ("float32", "float32")
    assert b"secret" not in b"".join(found.values())


@pytest.mark.parametrize("family", ["gpt2", "opt"])
def test_names_without_the_prefix_of_the_base_model_are_understood(
    tiny: Any, tmp_path: Path, family: str
) -> None:
    model = tiny(family)
    source = save(model, tmp_path / "source", "float32", "5GB")
    expected = contents(in_memory(source, tmp_path / "memory", "float32", "5GB"))
    prefix = f"{model.base_model_prefix}."
    tensors = {name.removeprefix(prefix): tensor for name, tensor in load_file(source / SINGLE).items()}
    save_file(tensors, source / SINGLE, metadata={"format": "pt"})
    assert contents(copied(source, tmp_path / "copy", "float32")) == expected


def test_no_tensor_is_loaded_but_those_that_stay(
    checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(models.AutoModelForCausalLM, "from_pretrained", None)
    plan = plan_copy(checkpoint, REMOVED, "float32")
    assert plan is not None
    assert {parameter.device.type for parameter in plan.model.parameters()} == {"meta"}
    kept = {f"model.layers.{layer}." for layer in KEPT}
    read = {stored.name for stored in plan.tensors.values()}
    assert all(any(name.startswith(k) for k in kept) for name in read if ".layers." in name)
    assert len(read) == len(plan.tensors)


@pytest.mark.parametrize(
    "change",
    [
        lambda tensors: tensors.pop("model.norm.weight"),
        lambda tensors: tensors.update({"model.norm.weight": torch.zeros(7)}),
        lambda tensors: tensors.update({"model.norm.weight": tensors["model.norm.weight"].bfloat16()}),
        lambda tensors: tensors.update({"model.layers.6.mlp.up_proj.weight": torch.zeros(64, 32)}),
        lambda tensors: tensors.update({"lm_head.weight": torch.zeros(260, 32)}),
    ],
    ids=["missing", "other shape", "other dtype", "added", "second head"],
)
def test_tensors_that_are_not_the_model_s_own_are_left_to_the_loader(checkpoint: Path, change: Any) -> None:
    tensors = load_file(checkpoint / SINGLE)
    change(tensors)
    save_file(tensors, checkpoint / SINGLE, metadata={"format": "pt"})
    assert plan_copy(checkpoint, REMOVED, "float32") is None


def test_a_tied_head_that_is_stored_twice_is_written_once(checkpoint: Path, tmp_path: Path) -> None:
    once = contents(in_memory(checkpoint, tmp_path / "once", "float32", "5GB"))
    tensors = load_file(checkpoint / SINGLE)
    tensors["lm_head.weight"] = tensors["model.embed_tokens.weight"].clone()
    save_file(tensors, checkpoint / SINGLE, metadata={"format": "pt"})
    assert contents(copied(checkpoint, tmp_path / "copy", "float32")) == once


def test_another_dtype_and_quantised_weights_are_left_to_the_loader(checkpoint: Path) -> None:
    assert plan_copy(checkpoint, REMOVED, "bfloat16") is None
    config = read_json(checkpoint / "config.json")
    write_json(checkpoint / "config.json", config | {"quantization_config": {"quant_method": "fp8"}})
    assert plan_copy(checkpoint, REMOVED, "float32") is None


def test_a_rule_by_index_is_refused_before_any_file_is_made(checkpoint: Path) -> None:
    config = read_json(checkpoint / "config.json")
    write_json(checkpoint / "config.json", config | {"decoder_sparse_step": 2})
    with pytest.raises(ValueError, match="the field decoder_sparse_step ties the kind"):
        plan_copy(checkpoint, REMOVED, "float32")


def test_a_tensor_without_a_place_is_an_error(checkpoint: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checkpoints, "pruned_state", lambda state, path, kept: {"model.norm.weight": 1})
    with pytest.raises(ValueError, match=r"pruning llama leaves tensors without a place .*embed_tokens"):
        plan_copy(checkpoint, REMOVED, "float32")


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Callable[..., Path]]:
    """Mount a small file system: `disk("64k")`, or read-only with `disk("64k", "ro")`."""
    place = tmp_path / "disk"
    place.mkdir()

    def mount(size: str, mode: str = "rw") -> Path:
        command = ["mount", "-t", "tmpfs", "-o", f"size={size},{mode}", "tmpfs", str(place)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            pytest.skip(f"a file system cannot be mounted here: {done.stderr.strip()}")
        return place

    if shutil.which("mount") is None or os.geteuid() != 0:
        pytest.skip("only root can mount a small file system")
    yield mount
    subprocess.run(["umount", str(place)], capture_output=True, check=False)


@pytest.mark.parametrize("way", ["copied", "in_memory"])
class TestDisk:
    def fill(self, way: str, source: Path, place: Path) -> None:
        with folder_written_whole(place / "a" / "new") as part:
            if way == "copied":
                copied(source, part / "model", "float32")
            else:
                save_checkpoint(prune(load_model(str(source)), REMOVED), None, part / "model")

    @pytest.mark.parametrize("size", ["4k", "16k", "100k"])
    def test_a_full_disk_leaves_nothing(
        self, checkpoint: Path, disk: Callable[..., Path], way: str, size: str
    ) -> None:
        before, place = digest_path(checkpoint), disk(size)
        with pytest.raises(OSError, match=f"cannot write {place}/a/new: No space left on device; free some"):
            self.fill(way, checkpoint, place)
        assert list(place.iterdir()) == []
        assert digest_path(checkpoint) == before

    def test_a_read_only_disk_is_named(self, checkpoint: Path, disk: Callable[..., Path], way: str) -> None:
        before, place = digest_path(checkpoint), disk("4m", "ro")
        with pytest.raises(PermissionError, match=f"cannot write {place}/a/new: Read-only file system; make"):
            self.fill(way, checkpoint, place)
        assert digest_path(checkpoint) == before

    def test_a_disk_with_room_is_written(self, checkpoint: Path, disk: Callable[..., Path], way: str) -> None:
        place = disk("4m")
        self.fill(way, checkpoint, place)
        assert (place / "a" / "new" / "model" / SINGLE).is_file()


class TestCertificate:
    def write(
        self, source: Path, folder: Path, tokenizer: PreTrainedTokenizerFast | None = None
    ) -> dict[str, Any]:
        plan = plan_copy(source, REMOVED, "float32")
        assert plan is not None
        return write_certified_copy(
            plan, tokenizer, folder, layer_map=KEPT, provenance={"model": "tiny"}, max_shard_size="60KB"
        )

    @pytest.fixture
    def here(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(certificate, "inspect_afresh", certificate.inspect_with_logits)

    def test_a_fresh_process_certifies_it_and_records_the_logits(
        self, checkpoint: Path, tokenizer: PreTrainedTokenizerFast, tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:  # fmt: skip
        folder = tmp_path / "model"
        folder.mkdir()
        # What is green below was seen by another process: this one cannot load a model.
        with monkeypatch.context() as blind:
            blind.setattr(checks, "load_model", None)
            found = self.write(checkpoint, folder, tokenizer)
        assert found["way"] == "copied tensor by tensor"
        assert all(check["passed"] for check in found["checks"])
        by_name = {check["name"]: check["detail"] for check in found["checks"]}
        assert "the model was not in memory" in by_name["logits"]
        assert read_json(folder / "certificate.json") == found
        pruned = prune(load_model(str(checkpoint)), REMOVED)
        assert found["parameters"] == parameter_count(pruned)
        assert found["logits"] == pytest.approx(probe_logits(pruned), abs=1e-5)
        assert found["source_tensors"] == found["tensors"]
        again = {check.name: check for check in inspect_with_logits(folder)[0]}
        assert all(check.passed for check in again.values())
        assert "largest relative difference" in again["logits"].detail

    @pytest.mark.usefixtures("here")
    def test_the_files_are_those_that_memory_gives(
        self, checkpoint: Path, tokenizer: PreTrainedTokenizerFast, tmp_path: Path
    ) -> None:
        chatty: Any = models.load_tokenizer(str(checkpoint))
        chatty.chat_template = "{{ messages[0].content }}"
        chatty.save_pretrained(checkpoint)
        (tmp_path / "copy").mkdir()
        plan = plan_copy(checkpoint, REMOVED, "float32")
        assert plan is not None
        own = models.load_tokenizer(str(checkpoint))
        write_certified_copy(plan, own, tmp_path / "copy", layer_map=KEPT, provenance={})
        save_checkpoint(prune(load_model(str(checkpoint)), REMOVED), own, tmp_path / "memory")
        (tmp_path / "copy" / "certificate.json").unlink()
        assert contents(tmp_path / "copy") == contents(tmp_path / "memory")
        assert (tmp_path / "copy" / "chat_template.jinja").is_file()

    @pytest.mark.usefixtures("here")
    def test_a_model_too_large_to_load_is_certified_without_its_logits(
        self, checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        folder = tmp_path / "model"
        folder.mkdir()
        plan = plan_copy(checkpoint, REMOVED, "float32")
        assert plan is not None
        with monkeypatch.context() as blind:
            blind.setattr(checks, "load_model", None)
            found = write_certified_copy(plan, None, folder, layer_map=KEPT, provenance={}, logits=False)
        assert found["left_out"] == ["logits", "cache"]
        assert found["logits"] is None
        assert not {"logits", "cache"} & {check["name"] for check in found["checks"]}
        assert all(check["passed"] for check in found["checks"])
        later = {check.name: check for check in inspect_with_logits(folder)[0]}
        assert all(check.passed for check in later.values())
        assert "not in memory when it was written" in later["logits"].detail

    @pytest.mark.usefixtures("here")
    def test_a_later_change_is_red(self, checkpoint: Path, tmp_path: Path) -> None:
        folder = tmp_path / "model"
        folder.mkdir()
        self.write(checkpoint, folder)
        promise = read_json(folder / "certificate.json")
        nudged = [promise["logits"][0] + 1, *promise["logits"][1:]]
        write_json(folder / "certificate.json", promise | {"logits": nudged})
        assert [check.name for check in inspect_with_logits(folder)[0] if not check.passed] == ["logits"]
        name = next(iter(stored_tensors(folder).values())).file
        name.write_bytes(name.read_bytes()[:-1] + b"\x7f")
        assert [check.name for check in inspect_with_logits(folder)[0] if not check.passed] == [
            "stored tensors"
        ]

    @pytest.mark.usefixtures("here")
    def test_logits_that_are_not_finite_are_red(self, checkpoint: Path, tmp_path: Path) -> None:
        tensors = load_file(checkpoint / SINGLE)
        tensors["model.norm.weight"][3] = float("nan")
        save_file(tensors, checkpoint / SINGLE, metadata={"format": "pt"})
        (tmp_path / "model").mkdir()
        with pytest.raises(ValueError, match=r"does not hold what it promises: logits"):
            self.write(checkpoint, tmp_path / "model")

    @pytest.mark.usefixtures("here")
    def test_a_writer_that_mixes_layers_up_is_caught(
        self, checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        write = checkpoints.write_shards

        def swapped(tensors: Any, folder: Path, **options: Any) -> dict[str, str]:
            digests = write(tensors, folder, **options)
            one, two = (f"model.layers.{layer}.mlp.up_proj.weight" for layer in (0, 1))
            write({**tensors, one: tensors[two], two: tensors[one]}, folder, **options)
            return digests

        monkeypatch.setattr(checkpoints, "write_shards", swapped)
        (tmp_path / "model").mkdir()
        before = digest_path(checkpoint)
        with pytest.raises(ValueError, match=r"does not hold what it promises: stored tensors"):
            self.write(checkpoint, tmp_path / "model")
        assert digest_path(checkpoint) == before
