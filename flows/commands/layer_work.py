"""What `avss score` and `prune` run: the tasks of the stages, for one model in a scratch workspace."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from prefect import flow

from avss_core.models.architectures import depth
from avss_core.models.loading import has_tokenizer, load_config
from avss_core.scores.evidence import Evidence
from avss_core.scores.readings import Reading
from avss_core.scores.scores import SCORES
from flows import ROOT
from flows.collect import collect_text
from flows.prepare import wanted
from flows.running.scratch import checkpoint, scratch
from flows.running.server import served
from flows.score import measure_removals, removal_of, removal_tokens
from flows.settings.params import Params
from tasks.prepare import prepare_text
from tasks.prune import prune_model
from tasks.score import score_layers


def _scores(params: Params) -> dict[str, Any]:
    """Return the scores of every layer by the chosen reading, from the calibration text.

    Raises:
        FileNotFoundError: the model is a folder without a tokenizer.
    """
    folder = Path(params.model.name)
    if folder.is_dir() and not has_tokenizer(folder):
        raise FileNotFoundError(
            f"{folder} has no tokenizer, so its layers cannot be scored; put one there, or name the layers "
            "for `avss prune` with --layers"
        )
    name, statistics, tokens = params.score.name, None, 0
    needs = SCORES[name].needs
    with scratch() as workspace:
        origin = prepare_text(
            params.data.source,
            ROOT / params.data.path,
            params.data.sets,
            wanted(params),
            folder=workspace.prepared,
        )
        text = workspace.prepared / "text" / "calibration.json"
        model = checkpoint(params, workspace)
        if needs == "statistics":
            statistics = collect_text(params, model, text, params.collect.tokens)
            tokens = statistics["tokens"]
        elif needs != "nothing":
            tokens = removal_tokens(params)
        removals = measure_removals(params, model, text, [name])
        layers = depth(load_config(str(model)))
    scored = score_layers(
        Evidence(layers),
        [Reading("chosen", name, params.seed)],
        removal_of(params),
        statistics={"text": statistics} if statistics else {},
        **removals,
        resamples=params.score.resamples,
        seed=params.seed,
    )
    stability = scored["stability"].get("chosen")
    return {"text": origin, "tokens": tokens, **scored["readings"]["chosen"], "stability": stability}


@served
@flow(name="score-model", persist_result=False)
def score_model(params: Params) -> dict[str, Any]:
    """Return one row per layer: its score, its share of the sum, the running sum, and whether it would go."""
    found = _scores(params)
    rows = zip(found["scores"], found["normalised"], found["cumulative"], strict=True)
    stable = found["stability"]
    return {
        "model": params.model.name,
        "score": params.score.name,
        "reference": found["reference"],
        "prune_first": "lowest",
        "ratio": params.prune.ratio,
        "removed": found["removed"],
        "text": found["text"],
        "tokens": found["tokens"],
        "same_choice": stable["same"] if stable else None,
        "undecided": list(stable["undecided"]) if stable else None,
        "layers": [
            {
                "layer": layer,
                "score": score,
                "normalised": share,
                "cumulative": running,
                "removed": layer in found["removed"],
                "frequency": stable["frequency"][layer] if stable else None,
                "shot_noise": layer in found["shot_noise"],
            }
            for layer, (score, share, running) in enumerate(rows)
        ],
    }


@served
@flow(name="prune-by-score", persist_result=False)
def prune_by_score(params: Params, out: Path) -> dict[str, Any]:
    """Score the layers, write the checkpoint without the lowest ones, and return its certificate.

    Beside the certificate stand the layers about which other calibration text would choose otherwise.
    """
    found = _scores(params)
    certificate = prune_layers(params, found["removed"], out, score=params.score.name, scores=found["scores"])
    return certificate | {"undecided": list(found["stability"]["undecided"]) if found["stability"] else None}


def prune_layers(
    params: Params,
    removed: Sequence[int],
    out: Path,
    *,
    score: str = "explicit list",
    scores: Sequence[float] = (),
) -> dict[str, Any]:
    """Write the checkpoint without some layers, and return its certificate."""
    certificate: dict[str, Any] = prune_model.fn(
        params.model.name,
        removed,
        revision=params.model.revision,
        dtype=params.model.dtype,
        folder=out,
        provenance={"model": params.model.name, "revision": params.model.revision, "score": score},
        scores=scores,
    )
    return certificate
