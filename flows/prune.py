"""Stage prune: write the model without the chosen layers, with a certificate."""

from avss_core.files.writing import read_json
from avss_core.settings.params import Params
from flows.running.stage import stage
from flows.running.workspace import Workspace
from tasks.history.stage_log import StageLog
from tasks.prune import prune_model
from tasks.report.cards import calibration_loss


@stage("prune", ("model", "prune"))
def prune(params: Params, workspace: Workspace) -> StageLog:
    """Remove layers, and check the checkpoint in a fresh process."""
    scores = read_json(workspace.scores)
    card = read_json(workspace.dense / "model_card.json")
    # The scores did not choose an explicit list, and their costs are not those of its layers.
    scored = (
        {}
        if params.prune.layers
        else {
            "scores": scores["readings"][scores["chosen"]]["scores"],
            "kept": [calibration_loss(scores)],
        }
    )
    certificate = prune_model(
        str(workspace.dense),
        scores["removed"],
        dtype=params.model.dtype,
        folder=workspace.pruned,
        provenance={
            "model": card["name"],
            "revision": card["revision"],
            "weights": card["weights"],
            "score": "explicit list" if params.prune.layers else scores["chosen"],
        },
        replace=True,
        **scored,
    )
    return StageLog(
        metrics={
            "pruned.parameters": certificate["parameters"],
            "pruned.layers": len(certificate["layer_map"]),
        },
        tables={"certificate.json": {key: certificate[key] for key in ("checks", "layer_map", "provenance")}},
        checkpoints={"pruned": workspace.pruned},
    )
