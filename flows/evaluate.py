"""Stage evaluate: the dense and the pruned model on the same questions, text and reviews."""

from avss_core.digests import folder_written_whole, read_json, write_json
from flows.evaluation import evaluation_jobs, figures_by_name, figures_of, layer_jobs
from flows.execution import run
from flows.params import Params
from flows.stage import stage
from flows.workspace import Workspace
from tasks.answer_rows import write_answers
from tasks.evaluate import compare_variants, retained, summarise_layers
from tasks.harness import harness_results
from tasks.lineage import EVALUATED
from tasks.stage_log import StageLog


@stage("evaluate", ("seed", "model", "data", "evaluate"), reads=EVALUATED)
def evaluate(params: Params, workspace: Workspace) -> StageLog:
    """Measure what pruning cost, and what each layer of the dense model would answer."""
    jobs = {
        "dense": evaluation_jobs(params, workspace.prepared, workspace.dense),
        "layers": layer_jobs(params, workspace.prepared, workspace.dense),
        "pruned": evaluation_jobs(params, workspace.prepared, workspace.pruned),
    }
    found = run(params, jobs, "evaluation")
    dense, dense_record = figures_of(params, found["dense"])
    pruned, pruned_record = figures_of(params, found["pruned"])
    layers = summarise_layers(found["layers"], seed=params.seed) if found["layers"] else None
    figures = {
        "dense": dense,
        "pruned": pruned,
        "pruned_against_dense": compare_variants(dense_record, pruned_record, seed=params.seed),
        "retention": retained(dense_record, pruned_record, seed=params.seed),
        "layers": layers,
    }
    name = read_json(workspace.dense / "model_card.json")["name"]
    with folder_written_whole(workspace.evaluation, replace=True) as part:
        write_json(part / "figures.json", figures)
        write_answers(part / "answers.parquet", {"dense": dense_record, "pruned": pruned_record})
        for variant, found in (("dense", dense), ("pruned", pruned)):
            results = harness_results(
                f"{name} ({variant})",
                found,
                **params.machine,
                shots={
                    **{name: sets["shots"] for name, sets in found["sets"].items()},
                    "sentiment": params.evaluate.sentiment_shots,
                },
                seed=params.seed,
            )
            write_json(part / f"results_{variant}.json", results)
    return StageLog(
        metrics=figures_by_name("dense", dense) | figures_by_name("pruned", pruned),
        tables={"evaluation.json": figures},
    )
