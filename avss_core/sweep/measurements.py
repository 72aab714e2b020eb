"""What a sweep measures of a model, each result kept, and the model loaded when the first one is missing."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from functools import cached_property, partial
from typing import Any

from transformers import PreTrainedModel, PreTrainedTokenizerBase

from avss_core.evaluation.perplexity import LanguageModelling
from avss_core.files.digests import digest_json
from avss_core.models.architectures import blocks
from avss_core.models.batches import Batch, text_batches, token_stream
from avss_core.models.room import batch_size_of
from avss_core.models.sizes import parameter_bytes, parameter_count
from avss_core.models.views import without_layers
from avss_core.scores.scores import find_score
from avss_core.statistics.layer_records import StatisticsPart
from avss_core.surgery.repair.outlets import UnrepairableError
from avss_core.surgery.repair.small_repair import repaired_without
from avss_core.sweep.held_out import HeldOutText
from avss_core.sweep.kept_points import KeptPoints
from avss_core.sweep.layer_orders import other_score, part_statistics
from avss_core.sweep.preferences import ANSWERS, preferences
from avss_core.sweep.sweep_plan import Plan
from avss_core.sweep.sweep_records import MeasuredLoss
from avss_core.sweep.targets import Sizes

Loaded = tuple[PreTrainedModel, PreTrainedTokenizerBase]

_READ = ("id", "question", "answers", "wrong_answers")


class Measurements:
    """Kept measurements of one model on one text."""

    def __init__(
        self,
        load: Callable[[], Loaded],
        texts: Sequence[str],
        plan: Plan,
        kept: KeptPoints,
        questions: Sequence[Mapping[str, Any]],
    ) -> None:
        """Measure nothing yet.

        Args:
            load: returns the dense model, which stays as it is, and its tokenizer; called once at most.
            texts: documents; the first `plan.scored.tokens` tokens are scored, those behind are held out.
            plan: how much of them.
            kept: results by the digest of the model, which its subject has to hold.
            questions: rows that each model is asked, as `avss_core.sweep.preferences.askable` returns them.
        """
        self._load, self._texts, self._plan, self._kept = load, texts, plan, kept
        self._questions = [
            {key: row[key][:ANSWERS] if key.endswith("answers") else row[key] for key in _READ}
            for row in questions
        ]
        self._text = {"text": digest_json(list(texts))}

    def sizes(self) -> Sizes:
        """Return parameters and bytes of the model and of each layer."""
        return Sizes(**self._kept.get("sizes", {}, self._sizes))

    def statistics(self, sites: Sequence[str], part: int) -> StatisticsPart:
        """Return the statistics of every layer at some sites, on one part of the scored text."""
        known = self._text | {"how": asdict(self._plan.scored), "sites": list(sites), "part": part}

        def measure() -> StatisticsPart:
            return part_statistics(*self._loaded, self._texts, sites, self._plan.scored, part)

        return self._kept.get("statistics", known, measure)

    def score(self, name: str, most: int) -> list[float]:
        """Return each layer's score by one that reads no statistics; `greedy` ranks `most` layers."""
        plan = self._plan
        ranked = most if "order" in find_score(name).needs else 0
        known = self._text | {"how": asdict(plan.scored), "score": name, "seed": plan.seed, "ranked": ranked}

        def measure() -> list[float]:
            ratio = most / len(blocks(self._loaded[0]))
            return other_score(*self._loaded, self._texts, name, plan.scored, ratio=ratio, seed=plan.seed)

        return self._kept.get("score", known, measure)

    def dense(self) -> MeasuredLoss:
        """Return the loss of the dense model on the held-out text.

        Raises:
            ValueError: no text is left behind the part that is scored.
        """
        measured: MeasuredLoss = self._loss("dense", {}, self._dense)
        return measured

    def pruned(self, removed: Sequence[int]) -> MeasuredLoss:
        """Return the loss without some layers."""

        def measure() -> MeasuredLoss:
            view = without_layers(self._loaded[0], removed)
            return self._measured(view, self._held_out.loss(view, removed[0]))

        measured: MeasuredLoss = self._loss("pruned", {"removed": list(removed)}, measure)
        return measured

    def repaired(self, removed: Sequence[int]) -> MeasuredLoss | str:
        """Return the loss without some layers after the small repair, or why the model cannot be repaired."""
        how = asdict(self._plan.scored)
        fitted = {name: how[name] for name in ("window", "batch_size", "skip_first")}
        known = {"removed": list(removed), "repair": self._plan.repair_tokens, "fitted": fitted}
        result: Any = self._loss("repaired", known, partial(self._repaired, removed))
        return str(result["left_out"]) if "left_out" in result else result

    @cached_property
    def _loaded(self) -> Loaded:
        return self._load()

    @cached_property
    def _held_out(self) -> HeldOutText:
        model, tokenizer = self._loaded
        skip = self._plan.scored.tokens
        ids = token_stream(tokenizer, self._texts, skip + self._plan.held_out)[skip:]
        if len(ids) < 2:
            raise ValueError(
                f"the calibration text has no token left behind the {skip} that were scored; "
                "lower collect.tokens or give more text"
            )
        return HeldOutText(model, ids, self._plan.window)

    @cached_property
    def _repair_batches(self) -> list[Batch]:
        how = self._plan.scored
        return text_batches(
            self._loaded[1],
            self._texts,
            tokens=self._plan.repair_tokens,
            window=how.window,
            batch_size=batch_size_of(self._loaded[0], how.batch_size, how.window),
        )

    def _sizes(self) -> dict[str, Any]:
        model = self._loaded[0]
        layers = list(blocks(model))
        return {
            "parameters": parameter_count(model),
            "bytes": parameter_bytes(model),
            "layer_parameters": [parameter_count(layer) for layer in layers],
            "layer_bytes": [parameter_bytes(layer) for layer in layers],
        }

    def _dense(self) -> MeasuredLoss:
        return self._measured(self._loaded[0], self._held_out.dense_loss())

    def _repaired(self, removed: Sequence[int]) -> Any:
        try:
            repaired = repaired_without(self._loaded[0], removed, self._repair_batches)
        except UnrepairableError as reason:
            return {"left_out": str(reason)}
        # The block before the first gap is the first one that the repair changes.
        return self._measured(repaired, self._held_out.loss(repaired, max(removed[0] - 1, 0)))

    def _loss(self, kind: str, known: dict[str, Any], measure: Callable[[], Any]) -> Any:
        plan = self._plan
        held_out = {"skip": plan.scored.tokens, "tokens": plan.held_out, "window": plan.window}
        return self._kept.get(kind, self._text | held_out | {"questions": self._questions} | known, measure)

    def _measured(self, model: PreTrainedModel, loss: LanguageModelling) -> MeasuredLoss:
        measured: MeasuredLoss = {
            "nll": loss.nll_per_token,
            "tokens": loss.tokens,
            "window_means": list(loss.window_means),
        }
        if self._questions:
            measured["preferred"] = preferences(model, self._loaded[1], self._questions)
        return measured
