"""`avss prune` as a person meets it: what it prints, where, and what it leaves behind."""

import errno
import json
import os
import resource
import tempfile
import traceback
from pathlib import Path

import pytest
from transformers import AutoModelForCausalLM

from tests.avss_core.cli.calls import ROOT, SETTINGS, write_text


def test_prune_by_ratio_removes_what_score_names(avss, model, text):
    shared = ["--ratio", 0.34, "--data", text, "--json", *SETTINGS]
    named = avss("score", model, *shared).json["removed"]
    printed = avss("prune", model, "--out", "new/pruned", *shared)
    result = printed.json
    assert printed.err == ""
    assert result["removed"] == named
    assert result["layer_map"] == [layer for layer in range(6) if layer not in named]
    assert result["parameters"] < result["dense_parameters"]
    assert result["bytes"] == 4 * result["parameters"]
    assert json.loads(Path("new/pruned/certificate.json").read_text())["provenance"]["score"] == "avss"
    assert AutoModelForCausalLM.from_pretrained("new/pruned").config.num_hidden_layers == 4
    assert [path.name for path in Path("new").iterdir()] == ["pruned"]


def test_the_cheapest_choice_is_that_of_the_score_that_costs_least_after_a_repair(avss, model, text):
    costs = ["--set", "score.cost_tokens=256", "--set", "score.repair_tokens=256", "--data", text, "--json"]
    shared = [
        "--ratio", 0.34, *SETTINGS, *costs, "--set", "score.compare=[last_n, traversal, random]",
    ]  # fmt: skip
    chosen = avss("score", model, *shared, "--set", "score.name=cheapest").json
    scores = ["--scores", "last_n,traversal", "--remove", 2, "--out", "swept"]
    swept = avss("sweep", model, *scores, *SETTINGS, *costs).json
    losses = {each["score"]: each["loss"] for each in swept["points"] if each["model"] == "repaired"}
    assert len(set(losses.values())) == 2
    assert chosen["score"] == min(losses, key=losses.get)
    pruned = avss("prune", model, "--out", "pruned", *shared, "--set", "score.name=cheapest").json
    assert pruned["removed"] == chosen["removed"]


def test_from_the_ratio_to_the_layers_are_six_hops(avss, model, text, monkeypatch):
    from avss_core.scores import layer_scores

    stacks, choose_layers = [], layer_scores.choose_layers

    def seen(*arguments, **options):
        own = tuple(str(ROOT / package) for package in ("flows", "tasks", "avss_core"))
        frames = [each for each in traceback.extract_stack() if each.filename.startswith(own)]
        # A comprehension is a frame of its own until Python 3.12.
        stacks.append([each.name for each in frames if not each.name.startswith("<")])
        return choose_layers(*arguments, **options)

    monkeypatch.setattr(layer_scores, "choose_layers", seen)
    assert avss("prune", model, "--ratio", 0.34, "--data", text, "--out", "new", *SETTINGS).code == 0
    hops = stacks[0][stacks[0].index("prune") + 1 :]
    assert hops == ["choose", "score_checkpoint", "score_layers", "score_readings", "record"]


def test_prune_on_two_words_warns(avss, model, tmp_path):
    write_text(tmp_path)
    (tmp_path / "wikitext2" / "valid.txt").write_text("Two words.", encoding="utf-8")
    printed = avss(
        "prune", model, "--data", tmp_path, "--score", "avss", "--out", "pruned", "--json", *SETTINGS
    )
    assert printed.json["warning"].startswith("too little text to say how sure the choice is: 1 window")
    assert f"warning: {printed.json['warning']}" in printed.err


def test_prune_by_number_needs_no_tokenizer_and_no_data(avss, bare):
    printed = avss("prune", bare, "--layers", "1, 4,5", "--out", "pruned", "--json")
    assert printed.err == f"warning: {bare} has no tokenizer, so pruned has none either\n"
    assert printed.json["removed"] == [1, 4, 5]
    assert printed.json["layer_map"] == [0, 2, 3]
    dense, pruned = (AutoModelForCausalLM.from_pretrained(folder) for folder in (bare, "pruned"))
    assert pruned.config.num_hidden_layers == 3
    for new, old in enumerate([0, 2, 3]):
        kept = dense.model.layers[old].mlp.up_proj.weight
        assert pruned.model.layers[new].mlp.up_proj.weight.equal(kept)


def test_prune_says_in_a_pipe_what_went(avss, model):
    printed = avss("prune", model, "--layers", "0", "--out", "pruned")
    assert printed.err.startswith("pruned: layers [0] removed, 5 are left; ")
    assert {row["passed"] for row in printed.rows} == {"yes"}


def test_prune_takes_the_layers_of_the_settings(avss, model):
    printed = avss("prune", model, "--set", "prune.layers=[2]", "--out", "pruned", "--json")
    assert printed.json["removed"] == [2]


def test_an_empty_folder_may_take_the_checkpoint(avss, model):
    Path("pruned").mkdir()
    assert avss("prune", model, "--layers", "0", "--out", "pruned").code == 0


def test_prune_writes_the_choice_for_other_tools_and_a_card(avss, model):
    certificate = avss("prune", model, "--layers", "4,1", "--out", "new", "--json").json
    assert Path("new/mergekit.yaml").read_text() == (
        "merge_method: passthrough\ndtype: float32\nslices:\n"
        + "".join(
            f'  - sources:\n      - model: "{model}"\n        layer_range: [{first}, {end}]\n'
            for first, end in ((0, 1), (2, 4), (5, 6))
        )
    )
    assert Path("new/llama-quantize.txt").read_text() == "--prune-layers 1,4\n"
    card = Path("new/README.md").read_text()
    assert f"# {model.name} without 2 layers\n" in card
    assert f"| parameters after | {certificate['parameters']:,} (" in card
    assert "was copied tensor by tensor" in card
    assert "base_model" not in card
    assert str(model) not in card
    assert avss("verify", "new").code == 0


def test_a_checkpoint_of_another_dtype_is_written_from_memory(avss, model):
    printed = avss("prune", model, "--layers", "1", "--out", "new", "--set", "model.dtype=bfloat16")
    assert printed.code == 0
    assert "was written from memory" in Path("new/README.md").read_text()
    assert Path("new/mergekit.yaml").read_text().splitlines()[1] == "dtype: bfloat16"
    assert json.loads(Path("new/certificate.json").read_text())["dtype"] == "bfloat16"
    copied = avss("prune", "new", "--layers", "0", "--out", "next", "--set", "model.dtype=bfloat16")
    assert copied.code == 0
    assert json.loads(Path("next/certificate.json").read_text())["way"] == "copied tensor by tensor"


def test_pruning_again_numbers_layers_as_in_the_checkpoint_and_says_so(avss, refused, pruned):
    printed = avss("prune", pruned, "--layers", "1", "--out", "again", "--json")
    assert printed.json["layer_map"] == [0, 3, 5]
    assert printed.err == (
        f"warning: {pruned} was pruned before, and layers are numbered as in it: 1 removed, which the dense "
        "model calls 2\n"
    )
    assert "| their numbers in the dense model | 2 |" in Path("again/README.md").read_text()
    assert Path("again/llama-quantize.txt").read_text() == "--prune-layers 1\n"
    message = refused("prune", pruned, "--layers", "4", "--out", "other")
    assert message.startswith(
        "layer 4 does not exist: the model has layers 0 to 3. The checkpoint was pruned"
    )
    assert "were 0, 2, 3, 5 in the dense model" in message


def cut_off(folder):
    os.truncate(folder / "model-00002-of-00003.safetensors", 9000)


def lose_shard(folder):
    (folder / "model-00002-of-00003.safetensors").unlink()


def lose_tensor(folder):
    index = json.loads((folder / "model.safetensors.index.json").read_text())
    index["weight_map"]["model.norm.weight"] = "model-00001-of-00003.safetensors"
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))


def pickle_alone(folder):
    for path in folder.glob("model*"):
        path.unlink()
    (folder / "pytorch_model.bin").write_bytes(b"pickle")


def name_code(folder):
    config = json.loads((folder / "config.json").read_text())
    config["auto_map"] = {"AutoModelForCausalLM": "modeling_evil.Model"}
    (folder / "config.json").write_text(json.dumps(config))


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize(
    ("spoil", "layers", "message"),
    [
        (cut_off, "1", "is damaged: model-00002-of-00003.safetensors cannot be read"),
        (lose_shard, "1", "lacks model-00002-of-00003.safetensors, which model.safetensors.index.json names"),
        (
            lose_tensor,
            "1",
            "names the tensor model.norm.weight in model-00001-of-00003.safetensors, which lacks",
        ),
        (pickle_alone, "1", "its weights are pickles (pytorch_model.bin), which can run code"),
        (name_code, "1", "needs remote code (auto_map in config.json: AutoModelForCausalLM)"),
        (None, "6", "layer 6 does not exist: the model has layers 0 to 5"),
        (None, "1,3,1", "a layer is named twice in [1, 1, 3]"),
        (None, "0,1,2,3,4,5", "cannot remove all 6 layers: at least one must stay"),
    ],
)
def test_bad_input_is_named_and_leaves_nothing(refused, tiny_llama, tmp_path, dtype, spoil, layers, message):
    folder = tmp_path / "source"
    tiny_llama.save_pretrained(folder, max_shard_size="100KB")
    if spoil:
        spoil(folder)
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    printed = refused("prune", folder, "--layers", layers, "--out", "a/new", "--set", f"model.dtype={dtype}")
    assert message in printed
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("room", [0, 2_000, 20_000])
def test_a_file_that_finds_no_room_leaves_nothing(refused, bare, dtype, room):
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (room, limits[1]))
    try:
        message = refused("prune", bare, "--layers", "1", "--out", "a/new", "--set", f"model.dtype={dtype}")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert message.startswith("cannot write a/new: File too large; free some space")


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("name", ["weights", "certificate.json", "mergekit.yaml", "README.md"])
def test_a_full_disk_leaves_nothing(refused, bare, monkeypatch, dtype, name):
    def fail(*_args, **_kwargs):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    if name == "weights":
        monkeypatch.setattr("avss_core.files.shards.save_file", fail)
        monkeypatch.setattr("transformers.modeling_utils.safe_save_file", fail)
    else:
        replace = Path.replace
        monkeypatch.setattr(
            Path, "replace", lambda path, to: fail() if Path(to).name == name else replace(path, to)
        )
    message = refused("prune", bare, "--layers", "1", "--out", "a/new", "--set", f"model.dtype={dtype}")
    assert message.startswith("cannot write a/new: No space left on device; free some space")


def test_a_full_disk_leaves_the_old_files_of_a_folder_that_gives_way(bare, tmp_path, monkeypatch):
    from avss_core.jobs.checkpoint_pruning import prune_model

    def fail(*_args, **_kwargs):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    (tmp_path / "pruned").mkdir()
    (tmp_path / "pruned" / "old").write_text("precious")
    monkeypatch.setattr("avss_core.files.shards.save_file", fail)
    with pytest.raises(OSError, match="No space left on device"):
        prune_model(str(bare), [1], dtype="float32", folder=tmp_path / "pruned", provenance={}, replace=True)
    assert [path.name for path in tmp_path.rglob("*")] == ["pruned", "old"]


def test_a_place_that_turns_read_only_is_named(refused, bare, monkeypatch):
    def fail(**_kwargs):
        raise PermissionError(errno.EROFS, os.strerror(errno.EROFS), "x")

    monkeypatch.setattr(tempfile, "mkdtemp", fail)
    message = refused("prune", bare, "--layers", "1", "--out", "a/new")
    assert message.startswith("cannot write a/new: Read-only file system; make a writable")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("--ratio 0.5 --layers 1", "--ratio and --layers exclude each other"),
        ("--layers 6", "layer 6 does not exist: the model has layers 0 to 5"),
        ("--layers -1", "layer -1 does not exist"),
        ("--layers 1,1", "a layer is named twice in [1, 1]"),
        ("--layers 0,1,2,3,4,5", "cannot remove all 6 layers"),
        ("--layers 1;2", "--layers '1;2': expected whole numbers separated by commas, such as 1,4,5"),
        ("--layers=", "--layers '': expected whole numbers"),
        ("--ratio 0", "prune.ratio: "),
        ("--ratio 1.5", "prune.ratio: "),
        ("--ratio nan", "prune.ratio: "),
        ("--score avs", "unknown score 'avs': did you mean avss?"),
    ],
)
def test_prune_refuses(refused, model, arguments, message):
    assert message in refused("prune", model, *arguments.split(), "--out", "new/pruned")


def test_a_source_in_half_precision_is_said_to_grow(avss, bare):
    config = json.loads((bare / "config.json").read_text())
    AutoModelForCausalLM.from_pretrained(bare, dtype="bfloat16").save_pretrained("half")
    printed = avss("prune", "half", "--layers", "1", "--out", "wide", "--json")
    assert config["dtype"] == "float32"
    assert "half is stored in bfloat16 and written in float32, which takes twice the bytes; " in printed.err
    assert "warning: " in printed.err
    option = printed.err.partition("; ")[2].partition(" keeps")[0].split()
    assert option == ["--set", "model.dtype=bfloat16"]
    kept = avss("prune", "half", "--layers", "1", "--out", "kept", "--json", *option)
    assert "is stored in" not in kept.err
    assert 2 * kept.json["bytes"] == printed.json["bytes"]


def test_a_tokenizer_of_another_model_is_refused_as_by_score(refused, avss, model, tmp_path):
    from transformers import AutoTokenizer

    other = tmp_path / "other"
    AutoModelForCausalLM.from_pretrained(model).save_pretrained(other)
    tokenizer = AutoTokenizer.from_pretrained(model)
    tokenizer.add_tokens([f"new{number}" for number in range(9)])
    tokenizer.save_pretrained(other)
    said = "other: the tokenizer knows 266 tokens, the model embeds only 260; they do not belong together"
    assert refused("prune", other, "--layers", "1", "--out", "new").endswith(said)
    assert refused("score", other, *SETTINGS).endswith(said)


def test_a_token_for_padding_alone_is_no_hindrance(avss, model, text, tmp_path):
    from transformers import AutoTokenizer

    other = tmp_path / "other"
    AutoModelForCausalLM.from_pretrained(model).save_pretrained(other)
    tokenizer = AutoTokenizer.from_pretrained(model)
    tokenizer.add_tokens([f"new{number}" for number in range(3)])
    tokenizer.add_special_tokens({"pad_token": "<pad>"})
    assert len(tokenizer) == 261
    tokenizer.save_pretrained(other)
    shared = ["--data", text, "--json", *SETTINGS]
    assert avss("score", other, *shared).json["layers"] == avss("score", model, *shared).json["layers"]
    assert avss("prune", other, "--layers", "1", "--out", "new").code == 0
    assert len(AutoTokenizer.from_pretrained("new")) == 261
