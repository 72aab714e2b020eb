"""Rows with several pipelines at once, with a server that is hard to start, and with runs that must agree."""

import os
import re
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from benchmarks.faults.checks import problems, process_problems
from benchmarks.faults.clone import copy, forget_stages, set_params
from benchmarks.faults.rows import UNITS, Place, RedError, Row, last_line
from benchmarks.faults.runs import finish, fired, processes_in, start

SECONDS = 300.0
"""Seconds that a row waits for a pipeline to reach a point."""


def until(happened: Callable[[], bool], what: str) -> None:
    """Wait for something.

    Raises:
        RedError: it does not happen.
    """
    end = time.monotonic() + SECONDS
    while not happened():
        if time.monotonic() > end:
            raise RedError(f"{what} did not happen within {SECONDS:.0f} s")
        time.sleep(0.05)


def expect(condition: bool, otherwise: str) -> None:
    """Turn the row red unless a condition holds."""
    if not condition:
        raise RedError(otherwise)


def killed_while_the_server_starts(number: signal.Signals) -> Row:
    """Return a row that strikes the pipeline before its Prefect server answers."""

    def act(place: Place) -> str:
        forget_stages(place.folder, ("gate",))
        running = start(place.folder, "-m", "flows.running.repro")
        until(lambda: _server_in(place.folder), "a server")
        running.process.send_signal(number)
        ran = finish(running)
        left = process_problems(place.folder)
        expect(ran.code != 0 and not left, f"exit code {ran.code}; {'; '.join(left)}")
        return f"exit code {ran.code}"

    return Row(f"{number.name} to repro while its Prefect server starts", act)


def plain_dvc(place: Place) -> str:
    """Kill a stage of a plain `dvc repro`, which starts its own Prefect server."""
    forget_stages(place.folder, ("gate",))
    ran = finish(start(place.folder, "-m", "dvc", "repro", fault="gate|rename|*/data/gates.json|1|KILL|self"))
    left = process_problems(place.folder)
    expect(ran.code != 0 and not left, f"exit code {ran.code}; {'; '.join(left)}")
    return f"exit code {ran.code}: {last_line(ran)}"


def second_in_one_clone(command: str) -> Row:
    """Return a row in which a second pipeline is started in a clone where one runs."""

    def act(place: Place) -> str:
        forget_stages(place.folder, ("localize",))
        # The stage of the first pipeline is stopped while the second one tries.
        fault = "localize|rename|*/data/localization.json|1|STOP|self"
        first = start(place.folder, "-m", "flows.running.repro", fault=fault, server=place.server)
        until(fired(place.folder).is_file, "the first one's stage")
        second = finish(start(place.folder, "-m", *command.split(), server=place.server))
        os.kill(int(fired(place.folder).read_text().split()[1]), signal.SIGCONT)
        ran = finish(first)
        expect(ran.code == 0, f"the first one ended with code {ran.code}: {last_line(ran)}")
        expect(second.code != 0, "the second one ended with code 0")
        said = re.search(r"another `make repro` \(process \d+[^\n]*|is busy[^\n]*", second.output)
        if said is None:
            raise RedError(f"the second one does not say why it ended: {last_line(second)}")
        return f"the second one: exit code {second.code}: {said[0][:120]}"

    return Row(f"two in one clone, the second by {command.replace('flows.running.repro', 'make repro')}", act)


def two_clones(name: str, share: Callable[[Place, Path], dict[str, str]]) -> Row:
    """Return a row in which two clones run at once.

    Args:
        name: what they share, in words.
        share: makes two clones share something, and returns what to add to the environment.
    """

    def act(place: Place) -> str:
        other = place.folder.with_name(f"{place.folder.name}.other")
        copy(place.template, other)
        more = share(place, other)
        own = None if more else place.server
        for folder in (place.folder, other):
            forget_stages(folder, ("collect",), UNITS["collect"])
        both = [start(f, "-m", "flows.running.repro", server=own, **more) for f in (place.folder, other)]
        for folder, ran in zip((place.folder, other), map(finish, both), strict=True):
            expect(not (wrong := problems(folder, place.template, ran)), "; ".join(wrong))
        return "both end with exit code 0"

    return Row(f"two clones at once, {name}", act)


def one_cache(place: Place, other: Path) -> dict[str, str]:
    """Let another clone use this one's DVC cache."""
    with (other / ".dvc" / "config").open("a", encoding="utf-8") as config:
        config.write(f"[cache]\n    dir = {place.folder / '.dvc' / 'cache'}\n")
    return {}


def one_prefect(place: Place, _other: Path) -> dict[str, str]:
    """Let both clones use one Prefect home, each with its own server."""
    home = place.folder / ".prefect"
    return {"PREFECT_HOME": str(home), "PREFECT_LOCAL_STORAGE_PATH": str(home / "storage")}


_RECORD = """
import sys
from pathlib import Path
from tasks.history.tracking import StageLog, pipeline_run, stage_run
home = Path(sys.argv[1])
with pipeline_run(home), stage_run(home, "fresh", {"a": 1}, "digest") as log:
    log(StageLog(metrics={"b": 2.0}))
"""


def fresh_history(place: Place) -> str:
    """Write a fresh history from four processes at once."""
    home = place.folder / ".git" / "fresh"
    four = [start(place.folder, "-c", _RECORD, str(home)) for _ in range(4)]
    ended = [finish(each) for each in four]
    wrong = [last_line(ran) for ran in ended if ran.code]
    expect(not wrong, f"{len(wrong)} of 4 failed: {'; '.join(wrong)}")
    with closing(sqlite3.connect(home / "mlflow.db")) as history:
        states = history.execute("SELECT status FROM runs").fetchall()
    expect(len(states) == 8 and set(states) == {("FINISHED",)}, f"its runs are {states}")
    return "4 of 4 recorded"


_START = """
from flows.running.server import prefect_server
with prefect_server():
    print("started")
"""


def first_starts(place: Place, times: int = 10, load: int = 4) -> str:
    """Start Prefect's server on a fresh home, again and again, on a loaded machine."""
    with _load(load):
        for number in range(times):
            home = str(place.folder / ".git" / f"prefect-{number}")
            ran = finish(start(place.folder, "-c", _START, PREFECT_HOME=home))
            expect(ran.code == 0 and "Traceback" not in ran.output, f"start {number + 1}: {last_line(ran)}")
    return f"{times} of {times} started"


def forced_twice(place: Place) -> str:
    """Run every stage again, twice."""
    for _ in range(2):
        ran = place.run("-f")
        expect(not (wrong := problems(place.folder, place.template, ran)), "; ".join(wrong))
    return "equal digests both times"


def there_and_back(place: Place) -> str:
    """Run with other parameters; the plain run has the first ones again."""
    before = (place.folder / "data" / "localization.json").read_bytes()
    set_params(place.folder, {"localize.resamples": 20})
    ran = place.run()
    expect(ran.code == 0, f"exit code {ran.code}: {last_line(ran)}")
    expect((place.folder / "data" / "localization.json").read_bytes() != before, "B's bytes are A's")
    set_params(place.folder, {"localize.resamples": 10})
    return "B ran"


def nothing_to_do(place: Place) -> str:
    """Check that a run with nothing to do uses little of the machine."""
    place.run()  # takes the digests of the copied files
    began = time.monotonic()
    running = start(place.folder, "-m", "flows.running.repro", server=place.server)
    _, status, used = os.wait4(running.process.pid, 0)
    running.process.returncode = os.waitstatus_to_exitcode(status)
    output = running.log.read_text(encoding="utf-8")
    seconds = used.ru_utime + used.ru_stime
    expect("Nothing has changed" in output, f"it says: {output.strip()[-160:]}")
    expect(seconds < 10, f"it took {seconds:.1f} s of the processor")
    return f"{seconds:.1f} s of the processor, {time.monotonic() - began:.1f} s in all"


@contextmanager
def _load(processes: int) -> Iterator[None]:
    """Keep so many processes busy."""
    busy = [subprocess.Popen([sys.executable, "-S", "-c", "while True: pass"]) for _ in range(processes)]
    try:
        yield
    finally:
        for process in busy:
            process.kill()
            process.wait()


def _server_in(folder: Path) -> bool:
    """Tell whether a Prefect server runs in a clone."""
    return any("prefect" in process.info["cmdline"] for process in processes_in(folder))


PIPELINES = (
    killed_while_the_server_starts(signal.SIGKILL),
    killed_while_the_server_starts(signal.SIGTERM),
    Row("gate: SIGKILL to the stage under a plain dvc repro", plain_dvc),
    second_in_one_clone("flows.running.repro"),
    second_in_one_clone("dvc repro"),
    two_clones("sharing nothing", lambda _place, _other: {}),
    two_clones("sharing DVC's cache", one_cache),
    two_clones("sharing Prefect's home", one_prefect),
    Row("four processes on a fresh MLflow database", fresh_history),
    Row("parameters A, B, A", there_and_back),
    Row("nothing to do", nothing_to_do),
    Row("every stage forced, twice", forced_twice),
    Row("ten first starts of Prefect on a loaded machine", first_starts),
)
