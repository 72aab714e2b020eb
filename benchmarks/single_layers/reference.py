"""One model, trained a layer at a time: what each training answers, and every reading; all of it is kept."""

import argparse
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from avss_core.caching.kept_results import run_kept
from avss_core.caching.loaded_model import model_at
from avss_core.data.rows import read_prepared, write_rows
from avss_core.files.digests import digest_path
from avss_core.jobs.evaluation.checkpoint_evaluation import evaluation_jobs, joined
from avss_core.jobs.preparation import prepare_model, prepare_rows
from avss_core.jobs.prone.answer_dump import asked_answers
from avss_core.jobs.prone.checkpoint_mitigation import (
    question_pairs,
    replies_of,
    train_layers,
    training_settings,
)
from avss_core.jobs.watched_training import forget
from avss_core.models.architectures import context_length, depth
from avss_core.settings.params import Params
from avss_core.sweep.kept_points import KeptPoints
from avss_core.training.mitigation.gradient_norms import gradient_norms
from avss_core.training.mitigation.mitigation import Contrastive, ContrastiveSettings
from benchmarks.single_layers.readings import Readings, all_readings

PARTS = ("validation", "test")

Columns = dict[str, Any]
"""What one model answered: by set confidence, verdict and loss of the accepted answer; text and reviews."""


class Reference:
    """One model, trained a layer at a time."""

    def __init__(self, params: Params, options: argparse.Namespace) -> None:
        self.params, self.options, work = params, options, options.work.resolve()
        self.work, self.prepared, self.dense = work, work / "prepared", work / "dense"
        prepare_rows(params, self.prepared)
        if not self.dense.exists():
            prepare_model(params.model.name, None, dtype=params.model.dtype, folder=self.dense)
        self.layers = depth(model_at(self.dense, **params.machine)[0].config)
        self.parts = {part: self._asked(part) for part in PARTS}
        self.run = run_kept(work / "units")
        decisive = params.decisive()
        self.kept = KeptPoints(work / "points", [digest_path(self.dense), decisive, options.test])

    def _asked(self, part: str) -> Path:
        """Return prepared rows whose test questions are the first ones of a part."""
        folder = self.work / part
        for name in self.params.data.sets:
            (folder / name).mkdir(parents=True, exist_ok=True)
            for file in ("train", "calibration"):
                shutil.copyfile(self.prepared / name / f"{file}.jsonl", folder / name / f"{file}.jsonl")
            rows = read_prepared(self.prepared / name / f"{part}.jsonl")
            write_rows(folder / name / "test.jsonl", rows[: self.options.test])
        for name in ("sst2", "text"):
            shutil.copytree(self.prepared / name, folder / name, dirs_exist_ok=True)
        return folder

    def measured(self, model: Path) -> Columns:
        """Return what a model answers on validation and on test questions, and its losses on text."""
        found: Columns = {}
        for part, prepared in self.parts.items():
            record = joined(
                self.run(evaluation_jobs(self.params, prepared, model), f"{model.name} on {part}")
            )
            found[part] = {
                "sets": {name: _columns(each["answers"]) for name, each in record["sets"].items()},
                "text": record["text"]["window_means"],
                "reviews": [float(row["correct"]) for row in record["sentiment"]["answers"]],
            }
        return found

    def base(self) -> Columns:
        """Return what the untrained model answers."""
        return self.kept.get("base", {}, lambda: self.measured(self.dense))

    def trained(self, layers: Sequence[int], seed: int) -> Columns:
        """Return what the model answers with some layers trained, all with one budget of parameters."""

        def make() -> Columns:
            settings = training_settings(self.params)
            settings["settings"] |= {"seed": seed, "epochs": 1}
            folder, resume = self.work / "trained", self.work / "training"
            train_layers(
                self.dense,
                self.prepared,
                layers=layers,
                folder=folder,
                provenance=None,
                replace=True,
                resume=resume,
                say=lambda line: print(f"<!-- {line} -->", flush=True),
                replies=replies_of(self.params, self.dense, self.prepared, self.run) or None,
                **settings,
            )
            forget(resume)
            return self.measured(folder)

        return self.kept.get("trained", {"layers": list(layers), "seed": seed}, make)

    def readings(self) -> tuple[Readings, dict[str, float | None]]:
        """Return every reading of each layer, and its tau with the length of answers."""

        def make() -> list[Any]:
            own = asked_answers(self.params, self.dense, self.prepared, self.run)
            model, tokenizer = model_at(self.dense, **self.params.machine)
            collect = self.params.collect
            found, taus = all_readings(
                model, tokenizer, self.prepared, self.params.data.sets, own, collect.answers
            )
            found["gradient norm"] = self.gradients(model, tokenizer)
            return [found, taus]

        found, taus = self.kept.get("readings", {}, make)
        return found, taus

    def gradients(self, model: Any, tokenizer: Any) -> list[float]:
        """Return the gradient norm of each layer on the training pairs."""
        settings = training_settings(self.params)
        options = ContrastiveSettings(**settings["settings"] | {"brier": 0.0, "anchor": 0.0, "known": 1.0})
        pairs = [
            pair
            for name in self.params.data.sets
            for pair in question_pairs(self.prepared / name / "train.jsonl", settings["pairs"])[0]
        ]
        context = context_length(model.config)
        objective = Contrastive(tokenizer, pairs, pairs[:1], range(self.layers), options, context=context)
        return gradient_norms(model, objective).tolist()


def _columns(answers: Sequence[Mapping[str, Any]]) -> dict[str, list[float]]:
    """Return confidence, verdict and loss of the accepted answer of each answer of a set."""
    return {
        "confidence": [row["confidence"] for row in answers],
        "correct": [float(row["correct"]) for row in answers],
        "gold": [row["gold_nll"] for row in answers],
    }
