"""EAVSS of every layer from the activation dump, as a Prefect task."""

from prefect import task

from avss_core.jobs.prone import layer_localization

localize_layers = task(name="localize-layers")(layer_localization.localize_layers)
