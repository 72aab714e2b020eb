"""The order of things: one flow per stage, the whole pipeline, and the command line."""

import os
from pathlib import Path

SOURCE = Path(__file__).resolve().parent.parent
"""The folder of the packages: the repository, or where they are installed."""

PROJECT = (SOURCE if (SOURCE / "dvc.yaml").is_file() else Path.cwd()).resolve()
"""Where a stage reads its settings and writes, whatever AVSS_HOME says: the repository, else the working
folder."""


def _without_experiment(project: Path) -> Path:
    """Return the repository of which `dvc exp run --temp` or `--queue` has made a copy, below its `.dvc`."""
    for folder in project.parents:
        if folder.name == "exps" and folder.parent.name == "tmp" and folder.parent.parent.name == ".dvc":
            return folder.parent.parent.parent
    return project


ROOT = Path(os.environ.get("AVSS_HOME") or _without_experiment(PROJECT)).resolve()
"""Where caches and history live: AVSS_HOME, else the repository (DVC removes the copy of an experiment), else
the working folder."""
# Prefect makes its own folder in it, but none above.
ROOT.mkdir(parents=True, exist_ok=True)

SAMPLE = SOURCE / "data" / "sample"
"""The sample that comes with the project."""

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
    "DO_NOT_TRACK": "1",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    # It logs every table that it makes in a new database.
    "MLFLOW_LOGGING_LEVEL": "WARNING",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    # Otherwise the Hub is asked to convert pickled weights, and its proposal is loaded.
    "DISABLE_SAFETENSORS_CONVERSION": "1",
    "TOKENIZERS_PARALLELISM": "false",
    "RAY_USAGE_STATS_ENABLED": "0",
    # Ray would hide the GPUs from units, since only CPUs are counted here.
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    # They would be drawn over the bars of `tasks.progress.steps`.
    "HF_HUB_DISABLE_PROGRESS_BARS": "1",
    "TQDM_DISABLE": "1",
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
