"""The loop of a training: steps, validations, early stopping and checkpoints."""

import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from avss_core.files.tensor_store import TensorStore
from avss_core.models.batches import by_length
from avss_core.models.placement import computes_in_bfloat16
from avss_core.models.room import batch_size_of, halve
from avss_core.progress import Progress, no_progress
from avss_core.training.frozen_prefix import FrozenPrefix
from avss_core.training.history import Epoch, Step, mean_terms
from avss_core.training.lora import adapter_tensors
from avss_core.training.objectives import Example, Objective, Settings, share_of_rate, weighted_loss
from avss_core.training.processes import Processes
from avss_core.training.state import FILE, TrainState, fingerprint, load_state, save_state

Group = list[list[Any]]
"""The batches of examples of one step."""

Weighed = tuple[float, dict[str, float]]
"""The weight of a batch, and its loss and terms."""


class Trainer:
    """One training: `prepare`, then `run`."""

    def __init__(
        self,
        adapted: Any,
        model: FrozenPrefix,
        objective: Objective,
        layers: Sequence[int],
        settings: Settings,
        store: TensorStore,
        folder: Path | None,
        processes: Processes,
    ) -> None:
        self.adapted, self.model, self.objective = adapted, model, objective
        self.layers, self.settings, self.store = sorted(layers), settings, store
        self.processes = processes
        self.path = None if folder is None else folder / FILE
        self.adapters = adapter_tensors(adapted)
        self.optimizer = torch.optim.AdamW(
            self.adapters.values(), lr=settings.learning_rate, weight_decay=0.0
        )
        self.size = 1 if settings.batch_size == "auto" else settings.batch_size
        """Examples a batch; with `auto` batches of one are put together as far as memory goes."""
        examples = [*objective.train, *objective.validation]
        self._longest = max(len(ids) for example in examples for ids in example.sequences)
        batches = math.ceil(len(objective.train) / self.size)
        self.steps_an_epoch = math.ceil(batches / settings.accumulate)
        self.steps = settings.epochs * self.steps_an_epoch
        self._groups: tuple[int, list[Group]] | None = None

    @property
    def validations(self) -> int:
        """Number of validations of the whole training."""
        return sum(self._validates(step) for step in range(1, self.steps + 1))

    def autocast(self) -> torch.autocast:
        """Return the context of the forward passes: bfloat16 if the settings ask and the device has it."""
        device = self.model.model.device.type
        enabled = self.settings.autocast and computes_in_bfloat16(device)
        return torch.autocast(device, torch.bfloat16, enabled=enabled)

    def prepare(self, progress: Progress = no_progress, examples: Sequence[Example] | None = None) -> None:
        """Compute once what does not change: the frozen blocks' outputs, and what the objective keeps."""
        if examples is None:
            examples = self._own_examples()
        self.model.check_head(examples[0].sequences[0])
        with self.autocast():
            sequences, size = [ids for example in examples for ids in example.sequences], self._at_once()
            self.model.prepare(sequences, size, progress)
            self.objective.prepare(sequences, size, self.store)

    def run(self, on_step: Callable[[Step], None], on_epoch: Callable[[Epoch], None]) -> TrainState:
        """Train from the last checkpoint to the last step or an early stop; return the last state.

        A number that is not finite also removes the checkpoint, which would only lead there again.

        Raises:
            ValueError: a loss or a gradient is not a finite number, or the checkpoint is another training's.
        """
        state, mark = TrainState(), {}
        if self.path is not None:
            mark = fingerprint(self.model.model, self.objective, self.layers, self.settings)
            state = load_state(self.path, self.adapters, self.optimizer, mark)
        self.processes.agree(self.adapters.values(), len(state.steps), state.finished)
        while len(state.steps) < self.steps and not state.finished:
            try:
                self._advance(state)
            except ValueError:
                if self.path is not None:
                    self.path.unlink(missing_ok=True)
                raise
            number, every = len(state.steps), self.settings.checkpoint_every
            due = self._validates(number) or (every and number % every == 0)
            if self.path is not None and due and self.processes.number == 0:
                save_state(self.path, state, self.adapters, self.optimizer, mark)
            on_step(state.steps[-1])
            if self._validates(number):
                on_epoch(state.epochs[-1])
        return state

    def groups(self, epoch: int) -> list[Group]:
        """Return the batches of each step of an epoch, in random order.

        A batch holds examples of similar length, to pad little. The order depends on seed and epoch only.
        """
        generator = torch.Generator().manual_seed(self.settings.seed + 1_000_003 * epoch)
        examples, size = self.objective.train, self.size
        shuffled = torch.randperm(len(examples), generator=generator).tolist()
        ordered = sorted(shuffled, key=lambda index: sum(map(len, examples[index].sequences)))
        batches = [[examples[i] for i in ordered[at : at + size]] for at in range(0, len(ordered), size)]
        order = torch.randperm(len(batches), generator=generator).tolist()
        step = self.settings.accumulate
        return [[batches[i] for i in order[at : at + step]] for at in range(0, len(order), step)]

    def step(self, group: Group, number: int) -> Step:
        """Take one step of the optimizer, after `number` earlier ones.

        Raises:
            ValueError: the loss or the gradient is not a finite number; the adapters are as before.
        """
        rate = self.settings.learning_rate * share_of_rate(self.settings, number, self.steps)
        total = float(sum(example.weight for batch in group for example in batch))
        losses = self._with_room(lambda at_once: self._gradients(group, total, at_once))
        self.processes.add_gradients(self.adapters.values())
        means = mean_terms(self.processes.gathered(losses))
        norm = float(torch.nn.utils.clip_grad_norm_(self.adapters.values(), self.settings.clip))
        for name, value in (("loss", means["loss"]), ("gradient's norm", norm)):
            if not math.isfinite(value):
                raise ValueError(
                    f"the training {name} of step {number + 1} is {value} at a learning rate of {rate:g}; "
                    "lower the learning rate"
                )
        for options in self.optimizer.param_groups:
            options["lr"] = rate
        self.optimizer.step()
        return Step(
            number + 1,
            number // self.steps_an_epoch + 1,
            sum(map(len, group)),
            total,
            sum(len(ids) for batch in group for example in batch for ids in example.sequences),
            rate,
            norm,
            means.pop("loss"),
            means,
        )

    @torch.no_grad()
    def judge(self, batches: Sequence[Sequence[Any]]) -> dict[str, float]:
        """Return the mean loss and terms over batches of validation examples."""
        losses = self._with_room(
            lambda at_once: [self._judged(*each) for each in self._turns(batches, at_once)]
        )
        return mean_terms(self.processes.gathered(losses))

    def _gradients(self, batches: Sequence[Sequence[Any]], total: float, at_once: int) -> list[Weighed]:
        """Add the gradients of some batches to nothing, and return their weights and losses."""
        losses: list[Weighed] = []
        self.optimizer.zero_grad()
        for batch, weight in self._turns(batches, at_once):
            with self.autocast():
                terms = self.objective.terms(self.model, batch, judging=False)
                loss = weighted_loss(self.objective.weights, terms)
            torch.autograd.backward(loss * (weight / total))
            losses.append((weight, _numbers(terms | {"loss": loss})))
        return losses

    def _judged(self, batch: Sequence[Any], weight: float) -> Weighed:
        """Return the weight and the losses of a batch of validation examples."""
        with self.autocast():
            terms = self.objective.terms(self.model, batch, judging=True)
            figures = _numbers(terms | {"loss": weighted_loss(self.objective.weights, terms)})
        return weight, figures

    def _turns(self, batches: Sequence[Sequence[Any]], at_once: int) -> Iterator[tuple[Sequence[Any], float]]:
        """Yield this process's batches, with `auto` so many at a time as one, and the weight of each."""
        turns = self.processes.turns(batches)
        if self.settings.batch_size == "auto":
            whole = [batch for batch, _ in turns]
            joined = [whole[start : start + at_once] for start in range(0, len(whole), at_once)]
            turns = [([example for batch in some for example in batch], True) for some in joined]
        for batch, counts in turns:
            yield batch, float(counts and sum(example.weight for example in batch))

    def _with_room(self, work: Callable[[int], list[Weighed]]) -> list[Weighed]:
        """Return what some work gives with so many examples at a time as memory holds."""
        while True:
            at_once = self._at_once()
            try:
                return work(at_once)
            except Exception as error:
                halve(self.model.model, self.settings.batch_size, at_once, error)

    def _at_once(self) -> int:
        """Return how many examples go through the model at a time."""
        size = batch_size_of(self.model.model, self.settings.batch_size, self._longest, trained=True)
        return min(size, self.settings.accumulate) if self.settings.batch_size == "auto" else size

    def _own_examples(self) -> list[Any]:
        """Return the examples that run through the model in this process."""
        if self.processes.count == 1 or self.processes.share_weights:
            return [*self.objective.train, *self.objective.validation]
        groups = [group for epoch in range(self.settings.epochs) for group in self.groups(epoch + 1)]
        batches = [batch for group in groups for batch in self.processes.own(group)]
        return [example for batch in [*batches, *self.processes.own(self._held_out())] for example in batch]

    def _held_out(self) -> list[list[Any]]:
        """Return the batches of a validation."""
        examples = self.objective.validation
        order = by_length([sum(example.sequences, ()) for example in examples], self.size)
        return [[examples[index] for index in chosen] for chosen in order]

    def _advance(self, state: TrainState) -> None:
        """Take the next step, and validate if it is due."""
        started = time.perf_counter()
        epoch, place = divmod(len(state.steps), self.steps_an_epoch)
        if self._groups is None or self._groups[0] != epoch + 1:
            self._groups = epoch + 1, self.groups(epoch + 1)
        state.steps.append(self.step(self._groups[1][place], len(state.steps)))
        if self._validates(len(state.steps)):
            self._validate(state)
        state.seconds += time.perf_counter() - started

    def _validate(self, state: TrainState) -> None:
        """Add a validation to the state, and keep the adapters if it is the best one."""
        figures = self.judge(self._held_out())
        last, loss = state.steps[-1], figures.pop("loss")
        if not math.isfinite(loss):
            raise ValueError(
                f"the validation loss after step {last.step} is {loss} at a learning rate of "
                f"{last.learning_rate:g}; lower the learning rate"
            )
        if state.add_validation(loss, figures, self.settings.patience) == 0:
            state.best = {name: tensor.detach().clone() for name, tensor in self.adapters.items()}

    def _validates(self, step: int) -> bool:
        """Return whether a validation follows a step."""
        every = self.settings.validate_every
        return step % self.steps_an_epoch == 0 or (every is not None and step % every == 0)


def _numbers(terms: Mapping[str, Tensor]) -> dict[str, float]:
    """Return the terms as plain numbers."""
    return {name: float(tensor.detach()) for name, tensor in terms.items()}
