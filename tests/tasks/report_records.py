"""Records of a small run as the stages write them, and the report made from them."""

import math
from pathlib import Path
from typing import Any

import torch

from avss_core.files.writing import write_json
from avss_core.statistics.moments import Moments
from avss_core.statistics.statistics import BLOCK_FIGURES, TOKEN_FIGURES, LayerStatistics, SiteStatistics
from tasks.render import write_report
from tasks.report.words.wording import MORE_FIGURES

LAYERS, SETS, REMOVED = 4, ("nq", "wikiqa"), [2]
FIGURES = ("accuracy", "accuracy_at_50", "coverage_at_50", "ece", "brier")

GENERATED = {"questions": 40, "both_kinds": 7, "only_right": 3, "only_wrong": 28, "wordless": 2,
             "answers": 200, "right": 30, "wrong": 90, "empty": 20, "duplicate": 60, "judge": "fitted",
             "shots": 5}  # fmt: skip
"""Counts of a model's own answers."""

Records = dict[str, Any]


def entry(value: float | None, half: float = 0.05) -> Records:
    if value is None:
        return {"value": None, "low": None, "high": None}
    return {"value": value, "low": value - half, "high": value + half}


def site(layer: int) -> SiteStatistics:
    means = torch.arange(1.0, 1.0 + len(TOKEN_FIGURES), dtype=torch.float64) * (layer + 1)
    tokens = Moments(8, means, torch.ones_like(means))
    values = Moments(
        32, torch.zeros(1, dtype=torch.float64), torch.tensor([32.0 * (layer + 2)], dtype=torch.float64)
    )
    return SiteStatistics(values, tokens, 0, layer + 1, layer + 1)


def measured(layer: int) -> Records:
    block = torch.ones(len(BLOCK_FIGURES), dtype=torch.float64)
    sites = {"output": site(layer), "update": site(layer)}
    return LayerStatistics(Moments(8, block, block), sites, ((1.0, 0.5),)).record()


def variant(accuracy: float, nll: float) -> Records:
    figures = {name: entry(accuracy if name not in ("ece", "brier") else 0.2) for name in FIGURES}
    bins = [{"lower": low, "upper": low + 0.5, "count": 30, "confidence": low + 0.25, "accuracy": accuracy}
            for low in (0.0, 0.5)]  # fmt: skip
    questions = {**figures, **{name: entry(0.4) for name in MORE_FIGURES},
                 "exact_match": entry(accuracy / 2), "answered": 1.0, "n": 60, "small_n": True,
                 "judge": "f1", "shots": 5, "dropped_demonstrations": 0, "reliability": bins,
                 "curve": [{"coverage": share, "accuracy": accuracy} for share in (0.5, 1.0)]}  # fmt: skip
    text = {"nll": nll, "tokens": 128, "window_mean": entry(nll)}
    text |= {f"{unit}_perplexity": math.exp(nll) for unit in ("token", "word", "byte")}
    feeling = {"n": 40, "accuracy": entry(accuracy), "auroc": entry(accuracy + 0.25),
               "predicted_positive": 0.5}  # fmt: skip
    return {"sets": dict.fromkeys(SETS, questions), "language_modelling": text, "sentiment": feeling}


def changes(**known: Records) -> Records:
    same = dict.fromkeys(FIGURES, entry(0.0))
    return {name: {**same, **known, "n": 60, "retention": None} for name in SETS}


def kept(share: float) -> Records:
    records = {name: {"n": 60, "accuracy_before": 0.5, "retention": entry(share),
                      "preference": {"n": 60, "accuracy_before": 0.75, "retention": entry(0.95)},
                      "gold_nll": {"n": 60, "retention": entry(0.9)}} for name in SETS}  # fmt: skip
    sentiment = {"n": 40, "chance": 0.5, "retention": entry(0.75), "retention_over_chance": entry(0.5)}
    text = {"windows": 4, "nll_retention": entry(0.8), "perplexity_ratio": entry(2.0)}
    return {"generation": {"sets": records, "mean": entry(share), "preference": entry(0.95),
                           "gold_nll": entry(0.9)},
            "classification": {"sentiment": sentiment}, "language_modelling": text}  # fmt: skip


def by_layer() -> Records:
    figures = {name: [entry(0.1 * layer) for layer in range(LAYERS)]
               for name in ("accuracy_at_50", "coverage_at_50", "ece", "brier")}  # fmt: skip
    return {"layers": list(range(LAYERS)), "n": dict.fromkeys(SETS, 24), "judges": dict.fromkeys(SETS, "f1"),
            "sets": dict.fromkeys(SETS, figures)}  # fmt: skip


def tau(*names: str) -> Records:
    return {
        name: {other: 1.0 if name == other else None for other in (*names, "depth")}
        for name in (*names, "depth")
    }


def reading(nll: float, removed: list[int]) -> Records:
    scores = [0.1 + 0.9 * (layer not in removed) for layer in range(LAYERS)]
    return {"score": "avss", "needs": "statistics", "reference": "a formula", "scores": scores,
            "normalised": [score / 3.1 for score in scores],
            "cumulative": [0.4, 0.7, 0.05, 1.0], "removed": removed, "shot_noise": [0],
            "cost": cost(nll), "repaired": cost(nll - (0.25 if nll > 3.5 else 0))}  # fmt: skip


def cost(nll: float) -> Records:
    return {"nll": nll, "tokens": 64, "window_means": [nll], "interval": entry(nll),
            "over_chosen": entry(nll - 3.5)}  # fmt: skip


def certificate(layer_map: list[int], parameters: int, provenance: Records) -> Records:
    check = {"name": "logits", "passed": True, "detail": "equal"}
    known = {"model": "tiny", "dense_parameters": 1000, **provenance}
    return {"checks": [check], "layer_map": layer_map, "parameters": parameters, "bytes": 4 * parameters,
            "way": "written", "dtype": "float32", "provenance": known}  # fmt: skip


def refit(layer: int, dense_layer: int, projection: str, error: float) -> Records:
    return {"layer": layer, "dense_layer": dense_layer, "projection": projection,
            "ridge": 0.01 if error < 1 else None, "error": error}  # fmt: skip


def run_records() -> Records:
    """Return the records of a run on a model of four layers without its third."""
    band = {"values": [0.1, -0.1, 0.3, 0.0], "low": [0.0, -0.2, 0.2, -0.1], "high": [0.2, 0.0, 0.4, 0.1]}
    part = {"tokens": 8, "layers": [measured(layer) for layer in range(LAYERS)]}
    statistics = {"tokens": 16, "parts": [part, part]}
    return {
        "prepared/manifest.json": {
            "origin": dict.fromkeys(("questions", "sentiment", "text"), "hub"),
            "sets": {name: {"train": 9, "validation": 3, "calibration": 2, "test": 60, "duplicates": 1,
                            "shared_with_test": 0, "wordless": 0, "accepted_as_wrong": 0} for name in SETS},
            "sentiment": {"train": 4, "validation": 40},
            "digest": "d" * 64,
        },
        "dense/model_card.json": {"name": "tiny", "revision": None, "type": "llama", "layers": LAYERS,
                                  "dtype": "float32", "parameters": 1000, "bytes": 4000, "weights": "w" * 64},
        "statistics.json": {"nq": statistics, "text": statistics},
        "scores.json": {"readings": {"avss": reading(3.5, REMOVED), "avss_output": reading(9.25, [0]),
                                     "traversal": reading(3.625, [1])},
                        "agreement": tau("avss", "avss_output", "traversal"), "chosen": "avss",
                        "removed": REMOVED,
                        "after_repair": {"tokens": 64, "left_out": "", "choices": 3, "tau": 0.5,
                                         "cheapest_before": ["avss"], "cheapest_after": ["traversal"]},
                        "stability": {"avss": {"frequency": [0.0, 0.25, 0.75, 0.0], "same": 0.75,
                                               "undecided": [1, 2],
                                               "sizes": [{"tokens": 8, "removed": [1]}],
                                               "sources": {"nq": [2]}}},
                        "dense": cost(3.0)},
        "pruned/certificate.json": certificate([0, 1, 3], 800, {"removed": REMOVED, "score": "avss"}),
        "repaired/certificate.json": certificate([0, 1, 3], 800, {"base": "pruned"})
        | {"refitted": ["mlp.1", "mlp.2"]},
        "repair.json": {"enabled": True, "fit": {
            "tokens": 2000, "text": "t" * 64,
            "windows": {"text": {"tokens": 1200, "wanted": 1200}, "questions": {"tokens": 800}},
            "projections": [refit(1, 1, "self_attn.o_proj", 1.0), refit(1, 1, "mlp.down_proj", 0.25),
                            refit(2, 3, "self_attn.o_proj", 0.75), refit(2, 3, "mlp.down_proj", 0.5)]}},
        "sizes.json": {
            "dense": {"layers": 4, "parameters": 1000, "bytes": 4000, "cache_bytes_per_token": 64},
            "pruned": {"layers": 3, "parameters": 800, "bytes": 3200, "cache_bytes_per_token": 48}},
        "evaluation/figures.json": {"dense": variant(0.5, 3.0), "pruned": variant(0.25, 3.75),
                                    "pruned_against_dense": changes(accuracy=entry(-0.25)),
                                    "repaired": {"figures": variant(0.3125, 3.5), "against_dense": changes(),
                                                 "against_pruned": changes(), "retention": kept(0.5625)},
                                    "retention": kept(0.5), "layers": by_layer()},
        "healed/certificate.json": certificate([0, 1, 3], 800, {"base": "repaired"}),
        "healing/figures.json": {
            "enabled": True, "base": "repaired", "healed": variant(0.375, 3.25),
            "healed_against_base": changes(),
            "retention": {"before": kept(0.5625), "after": kept(0.625)},
            "training": {"layers": [0, 1, 2], "dense_layers": [0, 1, 3], "parameters": 64, "tokens": 1200,
                         "train": {"text": {"tokens": 700, "wanted": 700}, "questions": {"tokens": 500}},
                         "steps": [{"tokens": 600, "loss": 2.0}, {"tokens": 600, "loss": 1.5}],
                         "history": [{"step": 1, "validation_loss": 1.75},
                                     {"step": 2, "validation_loss": 1.625}]}},
        "localization.json": {"reading": "eavss_contrast", "reference": "a formula", "site": "update",
                              "answers": {name: {"supplied": {"questions": 6}} for name in SETS},
                              "questions": 40, "pairs": 40, "readings": {"eavss_contrast": band},
                              "sets": {key: {"eavss_contrast": band} for key in SETS}, "probe_questions": 25,
                              "sources": {}, "source_agreement": {},
                              "probe_auroc": [0.5, 0.75, 1.0, 0.25],
                              "agreement": tau("eavss_contrast", "probe_auroc"), "most_prone": [2, 0, 3, 1]},
        "mitigated/certificate.json": certificate([0, 1, 2, 3], 1000, {"base": "dense"}),
        "mitigation/figures.json": {
            "base": "dense", "mitigated": variant(0.5, 3.01), "mitigated_against_base": changes(),
            "retention": kept(0.9375),
            "training": training([2]), "divergence": entry(0.02),
            "controls": {name: {"training": training(layers), "figures": variant(0.5, 3.02),
                                "against_base": changes(), "divergence": entry(0.03)}
                         for name, layers in (("random_1", [0]), ("random_2", [1]))},
            "against_controls": {"random": changes(accuracy=entry(0.1))},
            "localization_against_training": {"trainings": ["mitigated", "random_1", "random_2"],
                                              "tau": {"eavss": None, "eavss_contrast": 0.333}}},
    }  # fmt: skip


def without_repair(records: Records) -> None:
    """Take repair out of the records of a run, as where it is switched off."""
    records["repair.json"] = {"enabled": False}
    records.pop("repaired/certificate.json")
    records["evaluation/figures.json"].pop("repaired")
    records["healing/figures.json"] |= {"base": "pruned"}


def named(records: Records) -> Records:
    """Return the records that verdicts follow from, by the names that the page gives them."""
    files = {"evaluation": "evaluation/figures.json", "mitigation": "mitigation/figures.json",
             "healing": "healing/figures.json", "pruned": "pruned/certificate.json",
             "repair": "repair.json", "card": "dense/model_card.json", "scores": "scores.json",
             "manifest": "prepared/manifest.json", "localization": "localization.json"}  # fmt: skip
    return {name: records[file] for name, file in files.items()}


def times(checkpoint: str) -> Records:
    """Return the record of the stage speed for a checkpoint."""
    workload = {"prompt_tokens": 1024, "device": "cpu", "dtype": "float32", "threads": 2}
    models = {
        name: {"prefill": speed, "decode": {"1": speed / 10}, "peak_bytes": 1e8}
        for name, speed in (("dense", 100.0), ("pruned", 125.0))
    }
    ratio = entry(1.25)
    return {"workload": workload, "models": models, "base": "dense", "checkpoint": checkpoint,
            "ratios": {"pruned": {"prefill": ratio, "decode": {"1": ratio}}}}  # fmt: skip


def training(layers: list[int]) -> Records:
    """Return the record of a training."""
    history = [{"epoch": n, "step": 2 * n, "train_loss": 2.0 / n, "validation_loss": 2.5 - n / 4,
                "validation_preference": 0.5} for n in (1, 2)]  # fmt: skip
    return {"layers": layers, "dense_layers": layers, "rank": 8, "parameters": 96,
            "steps": [{"tokens": 50, "loss": 2.0}] * 4,
            "train_pairs": 9, "validation_pairs": 3, "skipped": {"no wrong answer": 2}, "best_loss": 1.5,
            "history": history}  # fmt: skip


def write_run(records: Records, root: Path, name: str = "reports") -> tuple[Records, list[Path]]:
    """Write the records as files, and their report."""
    for file, record in records.items():
        write_json(root / file, record)
    folders = [
        "prepared",
        "dense",
        "pruned",
        "repaired",
        "evaluation",
        "healed",
        "healing",
        "mitigated",
        "mitigation",
    ]
    paths = {folder: root / folder for folder in folders}
    files = ("statistics", "scores", "repair", "sizes", "localization")
    paths |= {"times": root / "speed.json", "pictures": root / "data" / "times"}
    paths |= {file: root / f"{file}.json" for file in files}
    parameters = {"seed": 0, "model.name": "tiny", "collect.threshold": 1e-5, "collect.skip_first": True,
                  "score.resamples": 8, "heal.rank": 2,
                  "collect.relative_threshold": 0.1, "evaluate.max_new_tokens": 16, "prune.layers": None,
                  "data.sets": list(SETS)}  # fmt: skip
    return write_report.fn(**paths, parameters=parameters, folder=root / name)[:2]
