"""The tasks of lm-evaluation-harness on checkpoints, and what each question says of a change."""
