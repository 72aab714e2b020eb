"""One job on one model with the settings of a run, as a command and as a stage of the pipeline do it."""
