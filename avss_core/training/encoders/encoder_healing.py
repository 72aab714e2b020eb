"""Healing of encoders: a pruned one learns the dense one's classes, hidden words or last states back."""

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import torch
from torch import Tensor
from transformers import PreTrainedModel

from avss_core.evaluation.masked import hidden_places, hides_words
from avss_core.files.tensor_store import TensorStore
from avss_core.models.architectures import depth, reads_both_ways
from avss_core.training.distillation import hidden_distance, kl_divergence
from avss_core.training.frozen_prefix import FrozenPrefix, Ids
from avss_core.training.healing import HealingSettings, Window
from avss_core.training.teacher import Teacher

Kind = Literal["classes", "words", "states"]
"""What models are compared by: the logits of classes, those of hidden words, or the last hidden states."""


def kind_of(model: PreTrainedModel) -> Kind:
    """Return what an encoder puts out, by its head."""
    if hides_words(model):
        return "words"
    return "classes" if type(model).__name__.endswith("ForSequenceClassification") else "states"


class EncoderDistillation:
    """The objective over texts: one divergence a text or a hidden word, or one distance a token.

    classes: KL(teacher || student) of the classes, a text. words: the same of the vocabulary, at the places
    that `avss_core.evaluation.masked` hides. states: `hidden_distance` of the last hidden states, where there
    is no head.
    """

    def __init__(
        self,
        student: PreTrainedModel,
        teacher: PreTrainedModel,
        train: Sequence[Ids],
        validation: Sequence[Ids],
        settings: HealingSettings,
        layer_map: Sequence[int],
        mask: int | None = None,
    ) -> None:
        """Take texts of token ids.

        Args:
            student: the pruned model; only its sizes are read.
            teacher: the dense model; stays as it is and runs in evaluation mode.
            train: texts to learn from, as the models read them.
            validation: other texts.
            settings: temperature and training; `hidden`, `answers` and `top_k` do not apply.
            layer_map: for each layer of the student its number in the teacher.
            mask: id of the token that hides a word; only a head over the vocabulary needs it.

        Raises:
            ValueError: the models have other heads or vocabularies, the map does not fit, or there is no
                mask.
        """
        self.kind = kind_of(student)
        sizes = [
            (kind_of(each), each.config.vocab_size, each.config.num_labels) for each in (student, teacher)
        ]
        if not reads_both_ways(student.config) or sizes[0] != sizes[1]:
            raise ValueError(f"an encoder with {sizes[0]} cannot learn from one with {sizes[1]}")
        if len(layer_map) != depth(student.config) or not set(layer_map) <= set(range(depth(teacher.config))):
            raise ValueError(
                f"the map {list(layer_map)} does not fit a student of {depth(student.config)} and a teacher "
                f"of {depth(teacher.config)} layers"
            )
        if self.kind == "words" and mask is None:
            raise ValueError(
                "the head is over the vocabulary, and the tokenizer has no token that hides a word"
            )
        self.teacher, self.settings, self.layer_map = Teacher(teacher), settings, list(layer_map)
        self.train, self.validation = (
            [self._window(tuple(ids), number, mask) for number, ids in enumerate(part) if ids]
            for part in (train, validation)
        )
        self.skipped: Mapping[str, int] = {}
        self.weights: Mapping[str, float] = {"hidden" if self.kind == "states" else "kl": 1.0}

    @property
    def identity(self) -> Any:
        """The teacher, the map and the kind."""
        return [self.teacher.digest(), self.layer_map, self.kind]

    def prepare(self, sequences: Sequence[Ids], batch_size: int, store: TensorStore) -> None:
        """Keep nothing: the teacher is asked anew at each step."""
        self.teacher.share_weights()

    def terms(self, model: FrozenPrefix, examples: Sequence[Window], *, judging: bool) -> dict[str, Tensor]:
        """Return the mean divergence or distance over the weights of the texts."""
        sequences = [window.ids for window in examples]
        batch, own = model.whole(sequences)
        goal = self.teacher.whole(sequences)
        if self.kind == "states":
            real = batch.attention
            return {"hidden": hidden_distance(goal.last_hidden_state[real], own.last_hidden_state[real])}
        wanted, logits = goal.logits, own.logits
        if self.kind == "words":
            rows = [torch.tensor(window.weights) for window in examples]
            hidden = torch.nn.utils.rnn.pad_sequence(rows, batch_first=True).bool()
            wanted, logits = wanted[hidden], logits[hidden]
        return {"kl": kl_divergence(wanted, logits, self.settings.temperature).mean()}

    def _window(self, ids: Ids, number: int, mask: int | None) -> Window:
        """Return a text with the weights of its tokens; with its hidden words if the head is over words."""
        if self.kind == "states":
            return Window(ids, (1.0,) * len(ids))
        if self.kind == "classes":
            return Window(ids, (1.0, *(0.0 for _ in ids[1:])))
        places = set(hidden_places(len(ids), number))
        shown = tuple(int(mask or 0) if place in places else token for place, token in enumerate(ids))
        return Window(shown, tuple(float(place in places) for place in range(len(ids))))
