"""Bring data and model into the workspace, as Prefect tasks."""

from prefect import task

from avss_core.jobs import preparation

prepare_rows = task(name="prepare-data")(preparation.prepare_rows)
prepare_model = task(name="prepare-model")(preparation.prepare_model)
