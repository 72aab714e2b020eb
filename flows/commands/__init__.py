"""The commands of the pipeline, one file a command."""
