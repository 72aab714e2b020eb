"""The command line `avss`: commands on one model, without the pipeline."""
