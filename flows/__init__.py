"""The order of things: one flow per stage, the whole pipeline, and the command line."""

import os

from avss_core.settings.environment import calm_libraries
from avss_core.settings.places import PROJECT as PROJECT
from avss_core.settings.places import ROOT as ROOT
from avss_core.settings.places import SOURCE as SOURCE

# Prefect makes its own folder in it, but none above.
ROOT.mkdir(parents=True, exist_ok=True)

calm_libraries()

# Prefect reads its settings when it is imported. The user's own values win.
for _name, _value in {
    "PREFECT_HOME": str(ROOT / ".prefect"),
    "PREFECT_LOCAL_STORAGE_PATH": str(ROOT / ".prefect" / "storage"),
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    # No pickles, also for a user who turns results on for all tasks.
    "PREFECT_RESULTS_DEFAULT_SERIALIZER": "json",
    # On a loaded machine the default of 20 s is too short, and so are two minutes.
    "PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS": "300",
    "PREFECT_CLI_PROMPT": "false",
    "PREFECT_LOGGING_LEVEL": "INFO",
    "PREFECT_LOGGING_SERVER_LEVEL": "ERROR",
    # The benchmarks call units without a flow.
    "PREFECT_LOGGING_TO_API_WHEN_MISSING_FLOW": "ignore",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    # It logs every table that it makes in a new database.
    "MLFLOW_LOGGING_LEVEL": "WARNING",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    "RAY_USAGE_STATS_ENABLED": "0",
    # Ray would hide the GPUs from units, since only CPUs are counted here.
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
}.items():
    os.environ.setdefault(_name, _value)


def _reach_loopback() -> None:
    """Let no proxy stand between this process, or one that it starts, and servers of its own machine."""
    proxies = [name for name, value in os.environ.items() if value and name.lower().endswith("_proxy")]
    if all(name.lower() == "no_proxy" for name in proxies):
        return  # where NO_PROXY is set, macOS's own settings are not read
    given = ",".join(os.environ.get(name, "") for name in ("no_proxy", "NO_PROXY"))
    hosts = dict.fromkeys(host.strip() for host in given.split(",") if host.strip())
    if "*" not in hosts:
        hosts |= dict.fromkeys(("localhost", "127.0.0.1", "::1"))
    # Some libraries read one spelling only.
    os.environ["NO_PROXY"] = os.environ["no_proxy"] = ",".join(hosts)


_reach_loopback()
