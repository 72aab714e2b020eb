"""A checkpoint as lm-evaluation-harness asks it, with how far it is on our bar."""

import copy
from collections.abc import Callable
from typing import Any

from lm_eval.api.instance import Instance
from lm_eval.api.model import CacheHook
from lm_eval.models.huggingface import HFLM
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from avss_core.display.steps import Advance, progress
from avss_core.models.room import BatchSize


class ShownModel(HFLM):  # type: ignore[misc]  # the harness is not checked
    """The harness's own model around one that is loaded."""

    def __init__(
        self, network: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, batch_size: BatchSize, label: str
    ) -> None:
        """Take a loaded model.

        Args:
            network: a causal language model.
            tokenizer: of it; a copy may get a token for padding.
            batch_size: requests a forward pass.
            label: of the bar.
        """
        super().__init__(pretrained=network, tokenizer=copy.deepcopy(tokenizer), batch_size=batch_size)
        self._label = label

    def loglikelihood(self, requests: list[Instance], disable_tqdm: bool = True) -> Any:
        """Return the log-likelihood of each continuation, in nats, and whether it is the greedy one."""
        return self._shown(super().loglikelihood, requests)

    def loglikelihood_rolling(self, requests: list[Instance], disable_tqdm: bool = True) -> Any:
        """Return the log-likelihood of each text, in nats."""
        return self._shown(super().loglikelihood_rolling, requests)

    def generate_until(self, requests: list[Instance], disable_tqdm: bool = True) -> Any:
        """Return the text that is written behind each prompt."""
        return self._shown(super().generate_until, requests)

    def _loglikelihood_tokens(
        self, requests: Any, disable_tqdm: bool = True, override_bs: int | None = None
    ) -> Any:
        """Return the same of tokens; the harness shows a bar of its own here where texts are rolled."""
        return super()._loglikelihood_tokens(requests, disable_tqdm=True, override_bs=override_bs)

    def _shown(self, ask: Callable[..., Any], requests: list[Instance]) -> Any:
        """Ask with a bar; the harness tells its cache of each answer, which is where they are counted."""
        with progress(self._label, len(requests), "requests") as advance:
            self.set_cache_hook(_Counting(advance))
            return ask(requests, disable_tqdm=True)


class _Counting(CacheHook):  # type: ignore[misc]
    """Counts answers where the harness would keep them."""

    def __init__(self, advance: Advance) -> None:
        super().__init__(None)
        self._advance = advance

    def add_partial(self, attr: str, req: Any, res: Any) -> None:
        """Count one answer."""
        self._advance(1)
