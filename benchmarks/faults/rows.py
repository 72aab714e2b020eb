"""The faults: kills, damaged files, full and read-only disks, several pipelines."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from benchmarks.faults.checks import process_problems
from benchmarks.faults.clone import forget_stages
from benchmarks.faults.runs import Ran, fired, repro


class RedError(Exception):
    """A fault had another effect than it should have."""


class SkipError(Exception):
    """A fault cannot be tried on this machine; says why."""


@dataclass(frozen=True)
class Place:
    """Where a row is tried."""

    folder: Path
    """A clone in the state after an undisturbed run."""
    template: Path
    """The clone that this one is a copy of; nothing writes there."""
    server: str | None
    """The address of a Prefect server that stages may use."""

    def run(self, *arguments: str, fault: str = "", own_server: bool = False) -> Ran:
        """Run the pipeline."""
        return repro(self.folder, *arguments, fault=fault, server=None if own_server else self.server)


@dataclass(frozen=True)
class Row:
    """A fault, and how it is made before the plain run."""

    name: str
    act: Callable[[Place], str]
    """Makes the fault, and returns in a few words what the user saw; raises RedError or SkipError."""
    own_server: bool = False
    """Whether the plain run starts its own Prefect server."""


UNITS = {
    "collect": ("text-statistics",),
    "score": ("removal-loss", "removal-cost", "repaired-cost", "repair-residuals"),
    "evaluate": ("answer-set", "layer-answers", "language-modelling", "sentiment"),
    "heal": (),
    "mitigate": ("divergence",),
}
"""Cached units of the stages."""


def kill(
    stage: str,
    kind: str,
    pattern: str,
    signal: str,
    victim: str = "self",
    *,
    where: str,
    count: int = 1,
    program: str = "",
) -> Row:
    """Return a row that strikes a process when a program reaches a point.

    Args:
        stage: the stage that runs again, with its units.
        kind: of the event at which it happens, as in injection/sitecustomize.py.
        pattern: of the event's path, below the clone.
        signal: KILL, TERM or INT.
        victim: self, dvc, repro, server, keeper, all or group.
        where: the point in words.
        count: which event of them.
        program: which reaches the point: a stage, dvc or repro; the stage if empty.
    """

    def act(place: Place) -> str:
        forget_stages(place.folder, (stage,), UNITS.get(stage, ()))
        own = victim in {"repro", "server", "all"}
        fault = "|".join([program or stage, kind, f"*/{pattern}", str(count), signal, victim])
        ran = place.run(fault=fault, own_server=own)
        if not fired(place.folder).is_file():
            raise RedError(f"the fault did not happen; exit code {ran.code}")
        if ran.code == 0:
            raise RedError("the disturbed run ended with code 0")
        # Without its keeper a killed run leaves processes; the plain run ends them.
        if victim != "all" and (left := process_problems(place.folder)):
            raise RedError("; ".join(left))
        return f"exit code {ran.code}: {last_line(ran)}"

    struck = "the stage" if victim == "self" and not program else program if victim == "self" else victim
    return Row(f"{stage}: SIG{signal} to {struck}, {where}", act)


def last_line(ran: Ran) -> str:
    """Return the last line that is not blank."""
    lines = [line.strip() for line in ran.output.splitlines() if line.strip()]
    return lines[-1][:160] if lines else ""


STORAGE = ".prefect/storage"

KILLS = (
    kill("prepare", "open", "params.yaml", "KILL", where="as it starts"),
    kill("prepare", "rename", "data/prepared", "TERM", where="data written, not in place"),
    kill("prepare", "rename", "data/dense", "KILL", where="model written, not in place"),
    kill("collect", "write", f"{STORAGE}/text-statistics-*", "KILL", count=3, where="in the third unit"),
    kill("collect", "write", f"{STORAGE}/text-statistics-*", "TERM", count=2, where="in the second unit"),
    kill("collect", "rename", "data/activations", "KILL", where="dump written, not in place"),
    kill("score", "write", f"{STORAGE}/removal-loss-*", "KILL", count=4, where="in the fourth unit"),
    kill("score", "rename", "data/scores.json", "TERM", where="file written, not in place"),
    kill("prune", "mkdtemp", "data/.pruned*", "KILL", where="before it writes"),
    kill("prune", "rename", "data/pruned", "KILL", "dvc", where="checkpoint written, not in place"),
    kill("repair", "rename", "block-*.safetensors", "KILL", where="writing its first block"),
    kill("repair", "rename", "data/repaired", "TERM", "repro", where="checkpoint written, not in place"),
    kill("speed", "rename", "data/sizes.json", "KILL", where="between its two files"),
    kill("evaluate", "write", f"{STORAGE}/answer-set-*", "KILL", count=2, where="in the second unit"),
    kill("evaluate", "write", f"{STORAGE}/sentiment-*", "TERM", "dvc", where="in a unit"),
    kill("evaluate", "write", f"{STORAGE}/answer-set-*", "INT", "group", where="in a unit (Ctrl-C)"),
    kill("heal", "rename", "training.safetensors", "KILL", count=2, where="writing its second checkpoint"),
    kill("heal", "rename", "training.safetensors", "TERM", "repro", count=2, where="while it trains"),
    kill("heal", "rename", "data/healing", "KILL", where="checkpoint in place, figures not"),
    kill("localize", "rename", "data/localization.json", "KILL", "repro", where="file written, not in place"),
    kill("mitigate", "rename", "training.safetensors", "KILL", where="writing its first checkpoint"),
    kill("mitigate", "rename", "data/controls/cross_entropy", "KILL", where="writing a control"),
    kill("mitigate", "rename", "data/mitigation", "TERM", "dvc", where="figures written, not in place"),
    kill("report", "rename", "reports", "KILL", where="pages written, not in place"),
    kill("report", "rename", "reports", "TERM", "repro", where="pages written, not in place"),
    kill("gate", "rename", "data/gates.json", "KILL", where="file written, not in place"),
    kill("gate", "rename", "data/gates.json", "KILL", "repro", where="file written, not in place"),
    kill("speed", "write", "dvc.lock", "KILL", program="dvc", where="about to write dvc.lock"),
    kill("score", "rename", ".dvc/cache/files/md5/*", "KILL", program="dvc", where="filling its cache"),
    kill("localize", "open", "params.yaml", "KILL", "server", where="as the stage starts"),
    kill("localize", "rename", "data/localization.json", "KILL", "all", where="repro and its keeper"),
)
