"""Write the model without some layers, as a Prefect task."""

from prefect import task

from avss_core.jobs import checkpoint_pruning

prune_model = task(name="prune-model")(checkpoint_pruning.prune_model)
