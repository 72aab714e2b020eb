"""The loss of pruned and repaired models on held-out text, in which the dense model runs once."""

from collections.abc import Sequence
from dataclasses import replace
from functools import cached_property

from transformers import PreTrainedModel

from avss_core.evaluation.perplexity import LanguageModelling, language_modelling
from avss_core.models.architectures import depth
from avss_core.scores.traversal import LayerInputs, layer_inputs, loss_without


class HeldOutText:
    """A token stream, and what each layer of the dense model reads from it.

    The dense model runs once. A model whose first blocks are the dense model's starts behind them. Memory: as
    `avss_core.scores.traversal.LayerInputs`, from the first loss on.
    """

    def __init__(self, dense: PreTrainedModel, ids: Sequence[int], window: int) -> None:
        """Keep what is read; nothing runs yet.

        Args:
            dense: the dense model; stays as it is.
            ids: the token stream.
            window: tokens that a model reads at a time; each is predicted but the first of all.
        """
        self._dense, self._ids, self._window = dense, ids, window

    @cached_property
    def _inputs(self) -> LayerInputs:
        return layer_inputs(self._dense, self._ids, window=self._window)

    def dense_loss(self) -> LanguageModelling:
        """Return the loss of the dense model."""
        return self.loss(self._dense, depth(self._dense.config) - 1)

    def loss(self, model: PreTrainedModel, same: int) -> LanguageModelling:
        """Return the loss of a model, as `avss_core.evaluation.perplexity.language_modelling` does.

        Args:
            model: the dense model, or a view or copy without some layers; stays as it is.
            same: how many of its first blocks are those of the dense model; they are not run again.

        Raises:
            ValueError: the loss is not a finite number, or as `language_modelling`.
        """
        if same == 0 or depth(model.config) == 1:  # nothing is shared, or nothing else would be left
            return language_modelling(model, self._ids, "", window=self._window)
        # In the place of the last shared block stands what it returned: what the next one reads.
        states = {same - 1: self._inputs.states[same]}
        return loss_without(model, replace(self._inputs, states=states), same - 1)
