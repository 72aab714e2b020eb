"""The commands that the pipeline adds to `avss`, by name."""

from flows.commands.cache_command import cache
from flows.commands.deploy_command import deploy, worker
from flows.commands.report_command import report
from flows.commands.run_command import run

COMMANDS = {
    "run": run,
    "report": report,
    "deploy": deploy,
    "worker": worker,
    "cache": cache,
}
"""The command line of the core names them too, where the pipeline is not installed."""
