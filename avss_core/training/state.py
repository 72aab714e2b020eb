"""The state of a training, in one safetensors file that is written whole or not at all."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor
from transformers import PreTrainedModel

from avss_core.files.digests import digest_json, digest_tensors
from avss_core.files.writing import disk_errors, part_name
from avss_core.models.architectures import blocks
from avss_core.models.placement import whole_tensors
from avss_core.training.history import Epoch, Step, best_place, mean_terms
from avss_core.training.objectives import Objective, Settings

FILE = "training.safetensors"


@dataclass
class TrainState:
    """All that a training needs to go on as if it had never stopped; `steps` gives its place in the data."""

    steps: list[Step] = field(default_factory=list)
    epochs: list[Epoch] = field(default_factory=list)
    best: dict[str, Tensor] = field(default_factory=dict)
    """Adapters of the lowest validation loss."""
    seconds: float = 0.0
    finished: bool = False

    def add_validation(self, loss: float, terms: dict[str, float], patience: int) -> int:
        """Add a validation, and finish if the last `patience` ones were not better than one before them.

        Returns:
            How many validations ago the best one was: 0 if this one is.
        """
        last, before = self.steps[-1], self.epochs[-1].step if self.epochs else 0
        learnt = mean_terms([(step.weight, step.terms | {"loss": step.loss}) for step in self.steps[before:]])
        preferred = terms.pop("preferred", None)
        self.epochs.append(Epoch(last.epoch, learnt.pop("loss"), loss, preferred, last.step, learnt, terms))
        since_best = len(self.epochs) - 1 - best_place([epoch.validation_loss for epoch in self.epochs])
        self.finished = since_best >= patience
        return since_best


def fingerprint(
    model: PreTrainedModel, objective: Objective, layers: Sequence[int], settings: Settings
) -> dict[str, str]:
    """Return what must be the same for a training to go on where another stopped, by name."""
    examples = [
        [[list(ids) for ids in example.sequences] for example in part]
        for part in (objective.train, objective.validation)
    ]
    weights = {name: t for name, t in blocks(model)[layers[0]].state_dict().items() if "lora_" not in name}
    return {
        "settings": digest_json([asdict(settings), dict(objective.weights)]),
        "layers": digest_json(sorted(layers)),
        "examples": digest_json([examples, objective.identity]),
        "model": digest_json(
            [model.config.model_type, len(blocks(model)), digest_tensors(whole_tensors(weights))]
        ),
    }


def save_state(
    path: Path,
    state: TrainState,
    adapters: Mapping[str, Tensor],
    optimizer: torch.optim.Optimizer,
    fingerprint: Mapping[str, str],
) -> None:
    """Write the file in place of an older one.

    Args:
        path: the file; its folder is made.
        state: the state to keep.
        adapters: what is trained.
        optimizer: the optimizer of the adapters.
        fingerprint: what must be the same for the training to go on, by name.

    Raises:
        OSError: the file cannot be written.
    """
    tensors = {f"adapter/{name}": tensor for name, tensor in adapters.items()}
    tensors |= {f"best/{name}": tensor for name, tensor in state.best.items()}
    for name, parameter in adapters.items():
        tensors |= {f"optimizer/{key}/{name}": t for key, t in optimizer.state.get(parameter, {}).items()}
    tensors["random"] = torch.random.get_rng_state()
    record = {
        "steps": [asdict(step) for step in state.steps],
        "epochs": [asdict(epoch) for epoch in state.epochs],
        "seconds": state.seconds,
        "finished": state.finished,
        "fingerprint": dict(fingerprint),
    }
    part = path.with_name(part_name(path.name))
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        with disk_errors():
            plain = {name: tensor.detach().cpu().clone().contiguous() for name, tensor in tensors.items()}
            text = json.dumps(record, allow_nan=False)
            save_file(plain, part, metadata={"record": text, "digest": _digest(text, plain)})
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


def load_state(
    path: Path,
    adapters: Mapping[str, Tensor],
    optimizer: torch.optim.Optimizer,
    fingerprint: Mapping[str, str],
) -> TrainState:
    """Return the stored state, and set adapters, optimizer and generator to it; a new state without a file.

    Raises:
        ValueError: the file is damaged, or belongs to another training (names what differs).
    """
    if not path.is_file():
        return TrainState()
    record, tensors = read_state(path)
    other = sorted(key for key, value in fingerprint.items() if record["fingerprint"].get(key) != value)
    if other:
        raise ValueError(
            f"{path} belongs to a training with other {', '.join(other)}; remove it, or name another folder"
        )
    with torch.no_grad():
        for name, parameter in adapters.items():
            parameter.copy_(tensors[f"adapter/{name}"])
    for place, tensor in tensors.items():
        if place.startswith("optimizer/"):
            _, key, name = place.split("/", 2)
            # The optimizer keeps its count of steps on the CPU.
            kept = tensor if key == "step" else tensor.to(adapters[name].device)
            optimizer.state[adapters[name]][key] = kept
    torch.random.set_rng_state(tensors["random"])
    return TrainState(
        [Step(**step) for step in record["steps"]],
        [Epoch(**epoch) for epoch in record["epochs"]],
        {name: tensors[f"best/{name}"] for name in adapters if f"best/{name}" in tensors},
        record["seconds"],
        record["finished"],
    )


def read_state(path: Path) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Return the record and the tensors of a file that `save_state` wrote.

    Raises:
        ValueError: the file is damaged.
    """
    try:
        with safe_open(path, framework="pt") as handle:
            known = handle.metadata()
            tensors = {name: handle.get_tensor(name) for name in handle.keys()}  # noqa: SIM118 - no mapping
        if known["digest"] != _digest(known["record"], tensors):
            raise ValueError("its content does not match its digest")
        return json.loads(known["record"]), tensors
    except (SafetensorError, OSError, KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{path} is damaged ({error}); remove it to train from the start") from error


def _digest(record: str, tensors: Mapping[str, Tensor]) -> str:
    """Return the digest of a file's record and tensors."""
    return digest_json([record, digest_tensors(tensors)])
