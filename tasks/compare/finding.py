"""Find a run to compare, and its answers: a workspace, a folder of reports, or a pipeline run of MLflow."""

import json
import re
from ast import literal_eval
from collections.abc import Mapping
from dataclasses import dataclass
from html import unescape
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, cast

import pandas as pd
from mlflow import MlflowClient
from mlflow.exceptions import MlflowException

from avss_core.data.rows import read_prepared
from avss_core.files.digests import digest_json
from avss_core.files.writing import read_json
from tasks.answers.answer_rows import SENTIMENT
from tasks.history.run_store import has_store, open_store, search
from tasks.records import ComparedRecords
from tasks.report.run_record import FILE, parts_of, run_record
from tasks.report.words.wording import setting_text

STAGES: Mapping[str, tuple[str, str]] = {
    "manifest": ("prepare", "prepared/manifest.json"),
    "card": ("prepare", "dense/model_card.json"),
    "scores": ("score", "scores.json"),
    "pruned": ("prune", "pruned/certificate.json"),
    "sizes": ("speed", "sizes.json"),
    "evaluation": ("evaluate", "evaluation/figures.json"),
    "healing": ("heal", "healing/figures.json"),
    "localization": ("localize", "localization.json"),
    "mitigation": ("mitigate", "mitigation/figures.json"),
}
"""Each record of a run: the stage that writes it, and its file below data/."""

_ANSWERS = {
    **dict.fromkeys(("dense", "pruned", "repaired"), "evaluation"),
    "healed": "healing",
    "mitigated": "mitigation",
}
"""The folder below data/ with the answers of each model."""

_LOGGED = {"manifest": "data.json", "card": "model.json", "pruned": "certificate.json"}
"""Names in MLflow that differ from NAME.json."""

_ID = re.compile(r"[0-9a-f]{32}")
_SETTING = re.compile(r'<tr><th scope="row"><code>(.*?)</code></th><td>(.*?)</td></tr>', re.DOTALL)


Answer = dict[str, Any]


@dataclass(frozen=True)
class Run:
    """One of the two runs."""

    name: str
    """As it was asked for."""
    kind: str
    """workspace, reports or MLflow."""
    record: Mapping[str, Any]
    """See `tasks.report.run_record.run_record`."""
    data: Path | None
    """The folder with its answers and questions, None if they are not at hand."""


class RunAnswers:
    """The answers of a run's models; each file is read once, and without a data folder there are none."""

    def __init__(self, data: Path | None) -> None:
        self._data = data
        self._tables: dict[str, pd.DataFrame] = {}
        self._asked: dict[str, dict[str, str]] = {}

    def answers(self, variant: str, name: str) -> dict[str, Answer]:
        """Return a model's answers to a set, or to `sentiment`: id -> id, confidence, correct (0 or 1)."""
        folder = _ANSWERS[variant]
        file = self._data / folder / "answers.parquet" if self._data else None
        if file is None or not file.is_file():
            return {}
        if folder not in self._tables:
            self._tables[folder] = pd.read_parquet(file)
        table = self._tables[folder]
        rows = table[(table["variant"] == variant) & (table["set"] == name)]
        records = rows[["id", "confidence", "correct"]].astype({"correct": int}).to_dict("records")
        return {str(row["id"]): {str(key): value for key, value in row.items()} for row in records}

    def asked(self, name: str) -> dict[str, str]:
        """Return the digest of each test question with its answers, or of each review, by id."""
        if name not in self._asked:
            path = "sst2/validation.jsonl" if name == SENTIMENT else f"{name}/test.jsonl"
            file = self._data / "prepared" / path if self._data else None
            rows = read_prepared(file) if file and file.is_file() else []
            self._asked[name] = {row["id"]: digest_json(row) for row in rows}
        return self._asked[name]


def shared_answers(
    first: RunAnswers, second: RunAnswers, variant: str, name: str
) -> tuple[list[Answer], list[Answer]]:
    """Return the answers of both runs' models to the same questions, in the same order.

    Two data sets may use the same ids, so question and answers must be equal, too.
    """
    a, b = (run.answers(variant, name) for run in (first, second))
    asked, other = (run.asked(name) for run in (first, second))
    ids = sorted(i for i in a.keys() & b.keys() if i in asked and asked[i] == other.get(i))
    return [a[i] for i in ids], [b[i] for i in ids]


def find_run(name: str, home: Path) -> Run:
    """Return a run by the name of its folder, of its folder of reports, or by its MLflow id.

    Args:
        name: a folder with data/ and reports/, such as that of `avss run --output`; its reports folder; or
            the id of a pipeline's run in MLflow.
        home: where the history is kept, unless MLFLOW_TRACKING_URI says otherwise.

    Raises:
        FileNotFoundError: nothing has this name, or the run is half-finished; says what is missing.
        LookupError: MLflow has no such run, or it is no pipeline.
    """
    folder = Path(name)
    if folder.is_dir():
        return _of_folder(name, folder)
    if _ID.fullmatch(name):
        return _of_store(name, home)
    raise FileNotFoundError(
        f"{name} is no run: it is neither a folder nor an id of MLflow (32 hexadecimal digits); name the "
        "folder of `avss run --output DIR`, its reports folder, the repository, or the id of a pipeline run"
    )


def _of_folder(name: str, folder: Path) -> Run:
    """Return the run of a folder: its stages' records if they are there, else what its report says."""
    is_report = (folder / FILE).is_file() or (folder / "summary.json").is_file()
    inside = is_report and not (folder / "data").is_dir()
    root, reports = (folder.parent, folder) if inside else (folder, folder / "reports")
    data = root / "data"
    missing = {key: data / file for key, (_, file) in STAGES.items() if not (data / file).is_file()}
    if not missing:
        records = {key: read_json(data / file) for key, (_, file) in STAGES.items()}
        run = cast(ComparedRecords, _with_healed(records) | {"parameters": {}})
        record = run_record(run, parts_of(data / "prepared"))
        return Run(name, "workspace", record | _reported(reports), data)
    if len(missing) == len(STAGES) and (reports / FILE).is_file():
        return Run(name, "reports", read_json(reports / FILE), None)
    key, path = next(iter(missing.items()))
    whole = len(missing) == len(STAGES)
    raise FileNotFoundError(
        f"{name} "
        + (f"holds neither the records of a run nor {FILE} of its report" if whole else "is half-finished")
        + f": {path} is missing, which the stage {STAGES[key][0]} writes; run `make repro`, or "
        "`avss run --output DIR`, to the end"
    )


def _with_healed(records: dict[str, Any]) -> dict[str, Any]:
    """Put the figures of the healed model beside those of the others."""
    if records["healing"]["enabled"]:
        records["evaluation"] = {**records["evaluation"], "healed": records["healing"]["healed"]}
    return records


def _reported(reports: Path) -> dict[str, Any]:
    """Return parameters and versions from a run's report; an older report has the parameters on its page."""
    if (reports / FILE).is_file():
        record = read_json(reports / FILE)
        return {key: record[key] for key in ("parameters", "versions")}
    page = reports / "index.html"
    text = page.read_text(encoding="utf-8") if page.is_file() else ""
    table = text[text.find('id="parameters"') :]
    return {"parameters": {unescape(key): unescape(value) for key, value in _SETTING.findall(table)}}


def _of_store(name: str, home: Path) -> Run:
    """Return a pipeline's run in MLflow: the record that its report logged, or those of its stages."""
    if not has_store(home):
        raise LookupError(f"there is no MLflow run {name}: {home} has no history of experiments yet")
    client, experiment = open_store(home)
    try:
        run = client.get_run(name)
    except MlflowException as error:
        raise LookupError(f"there is no MLflow run {name} in the history of {home}") from error
    parent = run.data.tags.get("mlflow.parentRunId")
    if parent is not None:
        raise LookupError(
            f"the MLflow run {name} is the stage {run.info.run_name} alone; name its pipeline, {parent}"
        )
    stages = search(client, experiment, f"tags.`mlflow.parentRunId` = '{name}'")
    done = {
        each.data.tags["avss.stage"]: each.info.run_id for each in stages if each.info.status == "FINISHED"
    }
    if "report" not in done:
        raise FileNotFoundError(
            f"the MLflow run {name} is half-finished ({run.info.status}): its report is missing; finished "
            f"are {', '.join(sorted(done)) or 'no stages'}"
        )
    record = _logged(client, done["report"], FILE) or _of_stages(client, done, run)
    commit = run.data.tags.get("git.commit")
    return Run(name, "MLflow", {**record, "versions": {**record.get("versions", {}), "git": commit}}, None)


def _of_stages(client: MlflowClient, done: Mapping[str, str], run: Any) -> dict[str, Any]:
    """Return the record of a run that is older than the report's own record."""
    name, records = run.info.run_id, {}
    healed = run.data.tags.get("healed") != "no"
    for key, (stage, _) in STAGES.items():
        if key == "healing" and not healed:
            records[key] = {"enabled": False}
            continue
        logged = _logged(client, done[stage], _LOGGED.get(key, f"{key}.json")) if stage in done else None
        if logged is None:
            raise FileNotFoundError(
                f"the MLflow run {name} lacks the record of the stage {stage}, and its report is of a "
                f"version that did not log {FILE}; name the folder of the run instead"
            )
        records[key] = logged
    parts = {
        each.dataset.name: {"digest": each.dataset.digest, "count": _count(each.dataset)}
        for each in run.inputs.dataset_inputs
    }
    settings = {key: setting_text(_plain(value)) for key, value in run.data.params.items()}
    known = cast(ComparedRecords, _with_healed(records) | {"parameters": {}})
    return run_record(known, parts) | {"parameters": settings}


def _logged(client: MlflowClient, run: str, file: str) -> dict[str, Any] | None:
    """Return a JSON file that a stage logged, None if it logged none."""
    if file not in {each.path for each in client.list_artifacts(run)}:
        return None
    with TemporaryDirectory(prefix="avss-") as folder:
        record: dict[str, Any] = read_json(Path(client.download_artifacts(run, file, folder)))
    return record


def _count(dataset: Any) -> int | None:
    """Return the number of rows of a part of the data from MLflow's record of it."""
    return json.loads(dataset.profile)["num_rows"] if dataset.profile else None


def _plain(text: str) -> Any:
    """Return the value of a parameter that MLflow holds as text."""
    try:
        return literal_eval(text)
    except (ValueError, SyntaxError):
        return text
