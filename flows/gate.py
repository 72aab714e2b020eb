"""Stage gate: fail the run where a model kept less than `gates.min_retention`, after all else is written."""

from avss_core.digests import read_json, write_json
from flows.params import Params
from flows.stage import stage
from flows.workspace import Workspace
from tasks.gate import check_retention, fallen_lines
from tasks.tracking import StageLog


@stage("gate", ("gates",))
def gate(params: Params, workspace: Workspace) -> StageLog:
    """Check what the pruned model kept.

    Raises:
        ValueError: a figure fell; names each.
    """
    figures = read_json(workspace.evaluation / "figures.json")
    found = check_retention({"pruned": figures["retention"]}, params.gates.min_retention)
    lines = fallen_lines(found)
    if lines:
        raise ValueError("\n".join(["the run kept too little; the report is written all the same", *lines]))
    write_json(workspace.gates, found)
    return StageLog(tables={"gates.json": found})
