"""Stage gate: fail the run if a model kept less than `gates.min_retention`, after all else is written."""

from avss_core.files.writing import read_json, write_json
from avss_core.settings.params import Params
from flows.running.stage import stage
from flows.running.workspace import Workspace
from tasks.gate import check_retention, fallen_lines
from tasks.history.stage_log import StageLog


@stage("gate", ("gates",))
def gate(params: Params, workspace: Workspace) -> StageLog:
    """Check what the pruned model kept, and the repaired and the healed one if any; the last of them decides.

    A model that passes becomes the champion of MLflow's registry.

    Raises:
        ValueError: the last model kept too little of a figure; names each.
    """
    evaluation = read_json(workspace.evaluation / "figures.json")
    tables = {"pruned": evaluation["retention"]}
    if "repaired" in evaluation:
        tables["repaired"] = evaluation["repaired"]["retention"]
    healing = read_json(workspace.healing / "figures.json")
    if healing["enabled"]:
        tables["healed"] = healing["retention"]["after"]
    gates = check_retention(tables, params.gates.min_retention)
    lines = fallen_lines(gates, list(tables)[-1])
    if lines:
        raise ValueError("\n".join(["the run kept too little; the report is written all the same", *lines]))
    write_json(workspace.gates, gates)
    if params.gates.min_retention is None:
        return StageLog(tables={"gates.json": gates}, left_out="gates.min_retention")
    last = list(tables)[-1]
    return StageLog(
        tables={"gates.json": gates},
        measured={last: getattr(workspace, last)},
        champion=read_json(workspace.dense / "model_card.json")["name"],
    )
