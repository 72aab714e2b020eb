"""The activation dump of answers, as a Prefect task."""

from prefect import task

from avss_core.jobs.prone import answer_dump

dump_activations = task(name="dump-activations")(answer_dump.dump_activations)
