"""Stage evaluate: the dense and the pruned model on the same questions, text and reviews."""

from avss_core.digests import folder_written_whole, write_json
from flows.evaluation import evaluate_checkpoint, figures_by_name
from flows.params import Params
from flows.stage import stage
from flows.workspace import Workspace
from tasks.evaluate import compare_variants
from tasks.tracking import StageLog


@stage("evaluate", ("seed", "model", "data", "evaluate"))
def evaluate(params: Params, workspace: Workspace) -> StageLog:
    """Measure what pruning cost."""
    dense, dense_answers = evaluate_checkpoint(params, workspace.prepared, workspace.dense)
    pruned, pruned_answers = evaluate_checkpoint(params, workspace.prepared, workspace.pruned)
    figures = {
        "dense": dense,
        "pruned": pruned,
        "pruned_against_dense": compare_variants(dense_answers, pruned_answers, seed=params.seed),
    }
    with folder_written_whole(workspace.evaluation, replace=True) as part:
        write_json(part / "figures.json", figures)
        write_json(part / "answers.json", {"dense": dense_answers, "pruned": pruned_answers})
    return StageLog(
        metrics=figures_by_name("dense", dense) | figures_by_name("pruned", pruned),
        tables={"evaluation.json": figures},
    )
