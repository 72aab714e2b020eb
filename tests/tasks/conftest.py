"""A Hub on this machine, and a process of its own that speaks to it."""

import hashlib
import json
import os
import re
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs

import pytest

REPOSITORY = Path(__file__).parents[2]


class LocalHub(BaseHTTPRequestHandler):
    """The few answers of the Hub that loading a model, or loading or streaming a data set needs."""

    def log_message(self, *_args):
        pass

    def answer(self, status, body=b"", **headers):
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def do_GET(self):
        parts = self.path.partition("?")[0].strip("/").split("/")
        self.server.asked.append("/".join(parts))
        if self.command == "GET":
            self.server.fetched.append(parts[-1])
        match parts[1:] if parts[0] == "datasets" else parts:
            case [owner, name, "resolve", commit, *file]:
                path = self.server.folder.joinpath(owner, name, *file)
                if not path.is_file():
                    return self.answer(404, X_Error_Code="EntryNotFound")
                body = path.read_bytes()
                if self.command == "GET" and path.name == self.server.lost:
                    return self.close_early(body)
                headers = {"ETag": hashlib.sha256(body).hexdigest(), "X_Repo_Commit": commit}
                asked = re.fullmatch(r"bytes=(\d+)-(\d+)", self.headers.get("Range", ""))
                if asked is None:
                    return self.answer(200, body, **headers)
                first, last = int(asked[1]), min(int(asked[2]), len(body) - 1)
                whole = f"bytes {first}-{last}/{len(body)}"
                return self.answer(206, body[first : last + 1], Content_Range=whole, **headers)
            case ["api", "datasets" | "models", owner, name, "revision", commit]:
                return self.answer(200, json.dumps({"id": f"{owner}/{name}", "sha": commit}).encode())
            case ["api", "datasets" | "models", owner, name, "tree", _commit, *folder]:
                repository = self.server.folder / owner / name
                found = repository.joinpath(*folder)
                return self.entries(repository, sorted(found.iterdir()) if found.is_dir() else [])
            case _:
                return self.answer(404, X_Error_Code="RepoNotFound")

    do_HEAD = do_GET  # noqa: N815

    def do_POST(self):
        asked = parse_qs(self.rfile.read(int(self.headers["Content-Length"])).decode())
        match self.path.strip("/").split("/"):
            case ["api", "datasets", owner, name, "paths-info", _commit]:
                repository = self.server.folder / owner / name
                found = [repository / path for path in asked["paths"]]
                return self.entries(repository, [path for path in found if path.exists()])
            case _:
                return self.answer(404, X_Error_Code="RepoNotFound")

    def close_early(self, body):
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body[: len(body) // 2])
        self.close_connection = True

    def entries(self, repository, paths):
        found = [
            {
                "type": "directory" if path.is_dir() else "file",
                "path": path.relative_to(repository).as_posix(),
                "size": path.stat().st_size,
                "oid": "0" * 40,
            }
            for path in paths
        ]
        return self.answer(200, json.dumps(found).encode())


@pytest.fixture
def local_hub(tmp_path):
    """A server of what lies in its `folder`; `environment` leads the libraries of the Hub to it.

    It breaks off in the middle of the file that is `lost`, and remembers what was `asked` and `fetched`.
    """
    server = ThreadingHTTPServer(("127.0.0.1", 0), LocalHub)
    server.folder, server.asked, server.fetched, server.lost = tmp_path / "hub", [], [], None
    server.environment = {
        "HF_ENDPOINT": f"http://127.0.0.1:{server.server_port}",
        "HF_HOME": str(tmp_path / "home"),
        "HF_HUB_OFFLINE": "0",
        "HF_DATASETS_OFFLINE": "0",
        "NO_PROXY": "127.0.0.1",
    }
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def run():
    """A function that runs code in a process of its own.

    The libraries of the Hub read their environment when they are imported.
    """

    def run(code, *arguments, **environment):
        return subprocess.run(
            [sys.executable, "-c", code, *arguments],
            cwd=REPOSITORY,
            env=os.environ | environment,
            capture_output=True,
            text=True,
            timeout=180,
            check=False,
        )

    return run


@pytest.fixture(scope="session")
def drawn(tmp_path_factory):
    """The folder of a small run's report with all figures, and the files that it is of; read-only."""
    # Imported here, after jaxtyping's hook.
    from avss_core.files.digests import digest_path
    from avss_core.files.writing import write_json
    from tests.tasks.report_records import run_records, times, write_run

    root, found = tmp_path_factory.mktemp("drawn"), run_records()
    write_json(root / "pruned/certificate.json", found["pruned/certificate.json"])
    write_json(root / "speed.json", times(digest_path(root / "pruned/certificate.json")))
    _, files = write_run(found, root)
    return root / "reports", files
