"""What the tree must never hold: pickles, code that a download brings along, servers for other machines."""

import ast
import importlib
import json
import os
import subprocess
from pathlib import Path
from types import SimpleNamespace

import pytest

ROOT = Path(__file__).resolve().parent.parent
SOURCES = sorted(
    path
    for folder in ("avss_core", "tasks", "flows", "benchmarks", ".ci")
    for path in (ROOT / folder).rglob("*.py")
)

MODULES = {"cloudpickle", "dill", "jsonpickle", "joblib", "marshal", "pickle", "shelve", "yaml"}
"""Modules that make objects, and so run code, of what they read; ruamel.yaml reads YAML instead of yaml."""

BUILTINS = {"eval", "exec", "compile", "__import__"}

CALLS = {"get_class_from_dynamic_module", "load_module", "popen", "read_pickle", "system", "to_pickle"}
"""Names of functions, of whichever module, that unpickle, run a shell or run code that was fetched."""

ALLOWED: dict[tuple[str, str], str] = {}
"""(file, finding) that may stay, with the reason."""


def findings(source):
    """Return what a source file does that could run somebody else's code, as "line: what"."""
    found = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import | ast.ImportFrom):
            names = (
                [node.module] if isinstance(node, ast.ImportFrom) else [alias.name for alias in node.names]
            )
            found += [(node, name) for name in names if (name or "").partition(".")[0] in MODULES]
        if isinstance(node, ast.Call):
            found += [(node, what) for what in _call(node)]
    return sorted(f"{node.lineno}: {what}" for node, what in found)


def _call(node):
    name = ast.unparse(node.func)
    last = name.rpartition(".")[2]
    given = {word.arg: ast.unparse(word.value) for word in node.keywords}
    if name in BUILTINS or last in CALLS:
        yield f"{name}()"
    if name == "torch.load":
        yield f"{name}()"
    if given.get("shell", "False") != "False":
        yield "a shell"
    if given.get("allow_pickle", "False") != "False":
        yield "allow_pickle"
    if given.get("trust_remote_code", "False") != "False":
        yield "trust_remote_code"
    if given.get("verify", "True") == "False":
        yield "a connection that is not verified"
    if last == "YAML" and given.get("typ", "'safe'") not in {"'safe'", "'rt'"}:
        yield "unsafe YAML"
    # Left out it is None, with which the library asks at the terminal whether to run the code.
    loads_any = name.startswith("Auto") or name == "_loader(config).from_pretrained"
    if last == "from_pretrained" and loads_any and "trust_remote_code" not in given:
        yield "from_pretrained without trust_remote_code=False"


def test_no_source_unpickles_evaluates_or_trusts_code_that_is_fetched():
    assert len(SOURCES) > 100
    found = {
        (path.relative_to(ROOT).as_posix(), finding.partition(": ")[2]): finding
        for path in SOURCES
        for finding in findings(path.read_text(encoding="utf-8"))
    }
    assert {where: line for where, line in found.items() if where not in ALLOWED} == {}
    assert set(ALLOWED) <= set(found), "an exception that nothing needs"


@pytest.mark.parametrize(
    ("source", "what"),
    [
        ("import pickle", "pickle"),
        ("from joblib import load", "joblib"),
        ("torch.load(path, weights_only=True)", "torch.load()"),
        ("np.load(path, allow_pickle=True)", "allow_pickle"),
        ("pd.read_pickle(path)", "pd.read_pickle()"),
        ("eval(text)", "eval()"),
        ("os.system(text)", "os.system()"),
        ("subprocess.run(text, shell=True)", "a shell"),
        ("AutoConfig.from_pretrained(a)", "from_pretrained without trust_remote_code=False"),
        ("AutoModel.from_pretrained(a, trust_remote_code=True)", "trust_remote_code"),
        ("AutoModel.from_pretrained(a, trust_remote_code=trusted)", "trust_remote_code"),
        ("YAML(typ='unsafe').load(text)", "unsafe YAML"),
        ("requests.get(url, verify=False)", "a connection that is not verified"),
    ],
)
def test_the_search_finds_what_it_is_for(source, what):
    assert f"1: {what}" in findings(source)


@pytest.mark.parametrize(
    "source",
    [
        "model.eval()",
        "re.compile(a)",
        "np.load(path)",
        "AutoConfig.from_pretrained(a, trust_remote_code=False)",
    ],
)
def test_the_search_leaves_what_is_harmless(source):
    assert findings(source) == []


def test_no_server_listens_to_other_machines():
    files = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True)
    everywhere = "0.0." + "0.0"
    for name in filter(None, files.stdout.split("\0")):
        path = ROOT / name
        if path.is_file() and path.suffix not in {".parquet", ".png"}:
            assert everywhere not in path.read_text(encoding="utf-8"), name
    assert "mlflow ui " in (makefile := (ROOT / "Makefile").read_text())
    assert all("--host 127.0.0.1" in line for line in makefile.splitlines() if "mlflow ui " in line)


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_sockets_and_servers_are_bound_to_loopback(path):
    """A host that is named is loopback, and an empty one, which is every interface, is never given."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Call):
            hosts = [word.value for word in node.keywords if word.arg in {"host", "bind", "dashboard_host"}]
            if ast.unparse(node.func).rpartition(".")[2] in {"bind", "ThreadingHTTPServer", "HTTPServer"}:
                hosts += [part.elts[0] for part in node.args[:1] if isinstance(part, ast.Tuple)]
            named = {host.value for host in hosts if isinstance(host, ast.Constant)}
            assert named <= {"127.0.0.1", "::1", "localhost", None}


@pytest.fixture
def entry_stays(tmp_path):
    """A function that tells whether a cached result is still there once its unit has looked for it."""
    from prefect.settings import PREFECT_LOCAL_STORAGE_PATH, temporary_settings

    from tasks.cache.units import content_key

    task = SimpleNamespace(
        name="answer-set", fn=SimpleNamespace(__module__="avss_core.jobs.evaluation.reviews")
    )

    def look(content):
        with temporary_settings({PREFECT_LOCAL_STORAGE_PATH: tmp_path}):
            entry = tmp_path / content_key(SimpleNamespace(task=task), {"shots": 5})
            entry.write_text(json.dumps(content))
            content_key(SimpleNamespace(task=task), {"shots": 5})
            return entry.exists()

    return look


@pytest.mark.parametrize(
    ("result", "serializer"),
    [
        # Base64 of a pickle in quotes is JSON too.
        ('"gASVBAAAAAAAAABLAS4="', {"type": "pickle"}),
        ('"gASVBAAAAAAAAABLAS4="', {"type": "compressed", "serializer": {"type": "pickle"}}),
        # Prefect would call the function with the object: this is `touch made-by-an-entry`.
        ('{"touch": 1, "made-by-an-entry": 2}', {"type": "json", "object_decoder": "subprocess.run"}),
        ("[1]", {"type": "json", "jsonlib": "marshal"}),
        ("[1]", {"type": "json"}),  # with Prefect's own decoder, which imports what an object names
    ],
)
def test_a_cached_result_that_would_run_code_when_it_is_read_is_removed(entry_stays, result, serializer):
    metadata = {"serializer": serializer, "storage_key": "answer-set"}
    assert not entry_stays({"metadata": metadata, "result": result})


def test_every_task_that_keeps_its_result_keeps_plain_json():
    from prefect import Flow, Task
    from prefect.results import resolve_serializer

    from avss_core.caching.fingerprints import units
    from avss_core.caching.unit import Unit
    from tasks.cache.units import as_task

    files = [path for package in ("tasks", "flows") for path in (ROOT / package).rglob("[!_]*.py")]
    modules = {".".join(path.relative_to(ROOT).with_suffix("").parts) for path in files}
    kept = {}
    for module in modules | set(units().values()):
        for found in vars(importlib.import_module(module)).values():
            task = as_task(found) if isinstance(found, Unit) else found
            if isinstance(task, Flow | Task) and task.persist_result:
                kept[task.name] = resolve_serializer(task.result_serializer)
    assert set(units()) <= set(kept)
    odd = {"__class__": "pathlib.Path", "data": "/x"}  # which Prefect's own decoder makes a Path of
    for name, serializer in kept.items():
        assert b'"/x"' in (stored := serializer.dumps(odd)), name
        assert serializer.loads(stored) == odd, name


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("PREFECT_RESULTS_DEFAULT_SERIALIZER", "json"),  # where a user keeps the results of other tasks
        ("DISABLE_SAFETENSORS_CONVERSION", "1"),  # by a service on the Hub, whose proposal would be loaded
    ],
)
def test_the_libraries_are_set_to_leave_pickles_alone(name, value):
    import flows  # noqa: F401 - sets the environment that they read

    assert os.environ[name] == value
