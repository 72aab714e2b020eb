"""A Hub on this machine."""

import base64
import hashlib
import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs


class LocalHub(BaseHTTPRequestHandler):
    """The few answers of the Hub that loading a model or a data set, and uploading a model need."""

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
            case ["api", "models", owner, name] if f"{owner}/{name}" in self.server.cards:
                card = self.server.cards[f"{owner}/{name}"]
                return self.say({"id": f"{owner}/{name}", "cardData": card})
            case ["api", "datasets" | "models", owner, name, "tree", _commit, *folder]:
                repository = self.server.folder / owner / name
                found = repository.joinpath(*folder)
                return self.entries(repository, sorted(found.iterdir()) if found.is_dir() else [])
            case _:
                return self.answer(404, X_Error_Code="RepoNotFound")

    do_HEAD = do_GET  # noqa: N815

    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        parts = self.path.partition("?")[0].strip("/").split("/")
        self.server.asked.append("/".join(parts))
        match parts:
            case ["api", "datasets", owner, name, "paths-info", _commit]:
                repository = self.server.folder / owner / name
                found = [repository / path for path in parse_qs(body.decode())["paths"]]
                return self.entries(repository, [path for path in found if path.exists()])
            case ["api", "validate-yaml"]:
                return self.say({"errors": [], "warnings": []})
        if self.server.token and self.headers.get("Authorization") != f"Bearer {self.server.token}":
            return self.answer(401, b'{"error": "Invalid credentials"}')
        match parts:
            case ["api", "repos", "create"]:
                asked = json.loads(body)
                repository = f"{asked['organization']}/{asked['name']}"
                self.server.made[repository] = asked.get("private") or asked.get("visibility") == "private"
                return self.say({"url": f"{self.server.address}/{repository}", "name": repository})
            case ["api", "models", _owner, _name, "branch", branch]:
                self.server.branches.append(branch)
                return self.say({})
            case ["api", "models", _owner, _name, "preupload", _branch]:
                files = json.loads(body)["files"]
                modes = {file["path"]: file["path"].endswith(".safetensors") for file in files}
                return self.say(
                    {
                        "files": [
                            {"path": path, "uploadMode": "lfs" if large else "regular", "shouldIgnore": False}
                            for path, large in modes.items()
                        ]
                    }
                )
            case [_owner, _name, "info", "lfs", "objects", "batch"]:
                wanted = json.loads(body)["objects"]
                href = f"{self.server.address}/blobs/"
                actions = [{**each, "actions": {"upload": {"href": href + each["oid"]}}} for each in wanted]
                return self.say({"transfer": "basic", "objects": actions})
            case ["api", "models", owner, name, "commit", _branch]:
                for line in map(json.loads, body.splitlines()):
                    self.keep(self.server.folder / owner / name, line["key"], line["value"])
                where = f"{self.server.address}/{owner}/{name}/commit/{'d' * 40}"
                return self.say({"commitUrl": where, "commitOid": "d" * 40})
            case _:
                return self.answer(404, X_Error_Code="RepoNotFound")

    def do_PUT(self):
        body = b""
        if length := self.headers.get("Content-Length"):
            body = self.rfile.read(int(length))
        else:  # in chunks, each with its length in front, the last one empty
            while size := int(self.rfile.readline(), 16):
                body += self.rfile.read(size)
                self.rfile.readline()
            self.rfile.readline()
        if self.server.lost:
            return self.answer(400, b'{"error": "no room"}')
        self.server.blobs[self.path.rpartition("/")[2]] = body
        return self.answer(200)

    def keep(self, repository, key, value):
        if key == "header":
            return
        path = repository / value["path"]
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(
            base64.b64decode(value["content"]) if key == "file" else self.server.blobs[value["oid"]]
        )

    def say(self, value):
        return self.answer(200, json.dumps(value).encode(), Content_Type="application/json")

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


@contextmanager
def serve(place: Path) -> Iterator[Any]:
    """Yield a server of what lies in its `folder`; `environment` leads the libraries of the Hub to it.

    It breaks off in the middle of the file that is `lost`, and remembers what was `asked`, `fetched`, `made`
    and sent. What is committed to it lies in its folder; with a `token` it takes it from nobody else.
    """
    server: Any = ThreadingHTTPServer(("127.0.0.1", 0), LocalHub)
    server.folder, server.asked, server.fetched, server.lost = place / "hub", [], [], None
    server.token, server.made, server.branches, server.blobs, server.cards = None, {}, [], {}, {}
    server.address = f"http://127.0.0.1:{server.server_port}"
    server.environment = {
        "HF_ENDPOINT": server.address,
        "HF_HOME": str(place / "home"),
        "HF_HUB_OFFLINE": "0",
        "HF_DATASETS_OFFLINE": "0",
        "HF_HUB_DISABLE_XET": "1",
        "NO_PROXY": "127.0.0.1",
    }
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()
