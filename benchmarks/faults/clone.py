"""Clones of the project with a tiny model, on which faults are tried."""

import shutil
import sqlite3
import subprocess
from collections.abc import Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

SOURCE = Path(__file__).resolve().parents[2]

SMALL: dict[str, Any] = {
    "data.sets": ["nq", "sciq"],
    "collect.tokens": 256,
    "collect.set_tokens": 128,
    "collect.window": 64,
    "collect.answers": 8,
    "collect.parts": 3,
    "score.cost_tokens": 128,
    "score.traversal_tokens": 128,
    "score.traversal_window": 32,
    "score.traversal_context": 16,
    "score.resamples": 10,
    "score.compare": ["avss", "avss_output", "last_n", "traversal"],
    "speed.prompt_tokens": 32,
    "speed.new_tokens": 2,
    "speed.batch_sizes": [1],
    "speed.rounds": 1,
    "evaluate.shots": 1,
    "evaluate.limit": 4,
    "evaluate.layer_questions": 2,
    "evaluate.judge": "exact",
    "evaluate.max_new_tokens": 2,
    "evaluate.tokens": 128,
    "evaluate.window": 64,
    "repair.tokens": 800,
    "repair.window": 128,
    "heal.tokens": 800,
    "heal.validation_tokens": 200,
    "heal.window": 128,
    "heal.rank": 2,
    "heal.validate_every": 1,
    "localize.resamples": 10,
    "mitigate.layers": 2,
    "mitigate.pairs": 4,
    "mitigate.batch_size": 4,
    "mitigate.validate_every": 1,
    "mitigate.controls": ["cross_entropy"],
}
"""What makes a run short."""


def tiny_model(folder: Path) -> Path:
    """Write a Llama of six layers with a tokenizer of bytes into a folder, and return the folder."""
    # Imported here, so that a list of rows comes at once.
    import torch
    from tokenizers import Tokenizer, decoders, pre_tokenizers
    from tokenizers.models import BPE
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    raw = Tokenizer(BPE(vocab={letter: index for index, letter in enumerate(letters)}, merges=[]))
    raw.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    raw.decoder = decoders.ByteLevel()
    end = "<|endoftext|>"
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=raw, eos_token=end, pad_token=end, model_max_length=1024
    )
    config = LlamaConfig(
        vocab_size=260,
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=6,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=1024,
        initializer_range=0.2,
        tie_word_embeddings=True,
        bos_token_id=None,
        eos_token_id=256,
        pad_token_id=256,
    )
    with torch.random.fork_rng():
        torch.manual_seed(0)
        LlamaForCausalLM(config).eval().save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def clone(folder: Path, model: Path, stages: Sequence[str] = ()) -> None:
    """Clone the project, uncommitted changes included, and set its parameters to a short run.

    Args:
        folder: to make.
        model: a checkpoint folder.
        stages: those of dvc.yaml that stay; all where none is named.
    """
    subprocess.run(["git", "clone", "-q", str(SOURCE), str(folder)], check=True)
    listed = ["git", "-C", str(SOURCE), "ls-files", "-z", "--modified", "--others", "--exclude-standard"]
    for name in subprocess.run(listed, check=True, capture_output=True, text=True).stdout.split("\0"):
        if name and (SOURCE / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(SOURCE / name, folder / name)
    (folder / "dvc.lock").unlink(missing_ok=True)  # of a run with other parameters
    set_params(folder, {"model.name": str(model), **SMALL})
    if stages:
        yaml, path = YAML(), folder / "dvc.yaml"
        values = yaml.load(path)
        values["stages"] = {name: values["stages"][name] for name in stages}
        yaml.dump(values, path)


def set_params(folder: Path, changes: Mapping[str, Any]) -> None:
    """Write parameters by their dotted names."""
    yaml = YAML()
    path = folder / "params.yaml"
    values = yaml.load(path)
    for key, value in changes.items():
        section, _, name = key.partition(".")
        values[section][name] = value
    yaml.dump(values, path)


def copy(template: Path, folder: Path) -> None:
    """Copy a clone with all files of its run; the history of the copy writes into the copy."""
    subprocess.run(["cp", "-a", str(template), str(folder)], check=True)
    database = folder / "mlflow.db"
    if database.is_file():
        with closing(sqlite3.connect(database)) as history, history:
            history.execute(
                "UPDATE experiments SET artifact_location = ?", [(folder / "mlartifacts").as_uri()]
            )


def cached(folder: Path, digest: str) -> Path:
    """Return the place of an MD5 digest in the DVC cache of a clone."""
    return folder / ".dvc" / "cache" / "files" / "md5" / digest[:2] / digest[2:]


def outputs(folder: Path, stage: str) -> list[Path]:
    """Return the outputs of a stage that dvc.lock lists in a clone."""
    lock = YAML(typ="safe").load(folder / "dvc.lock")
    return [folder / out["path"] for out in lock["stages"][stage].get("outs", [])]


def forget_stages(folder: Path, stages: tuple[str, ...], units: tuple[str, ...] = ()) -> None:
    """Make stages run again: remove their results from DVC and Prefect.

    Args:
        folder: of the clone.
        stages: whose entries in dvc.lock go, and the objects of their outputs in DVC's cache.
        units: whose cached results go, by the beginning of their names.
    """
    yaml = YAML()
    path = folder / "dvc.lock"
    lock = yaml.load(path)
    for stage in stages:
        for out in lock["stages"].pop(stage).get("outs", []):
            cached(folder, out["md5"]).unlink(missing_ok=True)  # it may be kept out of the cache
    yaml.dump(lock, path)
    shutil.rmtree(folder / ".dvc" / "cache" / "runs", ignore_errors=True)
    for unit in units:
        for entry in (folder / ".prefect" / "storage").glob(f"{unit}-*"):
            entry.unlink()
