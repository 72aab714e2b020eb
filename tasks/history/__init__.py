"""The history of runs in MLflow: tracking, what stages log, live curves, masked secrets."""
