import datetime
import importlib.util
import json
import os
import re
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
TODAY = datetime.date(2026, 1, 31)
PINS = [
    line for line in (ROOT / "constraints.txt").read_text().splitlines() if "==" in line and line[0] != "#"
]


@pytest.fixture(scope="module")
def audit():
    spec = importlib.util.spec_from_file_location("audit", ROOT / ".ci" / "audit.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def report(*fixes, **more):
    found = {"id": "PYSEC-1", "aliases": ["CVE-1"], "fix_versions": list(fixes), "description": "bad"}
    harmless = {"name": "b", "version": "2", "vulns": []}
    return {"dependencies": [{"name": "a", "version": "1.0", "vulns": [found]}, more or harmless]}


def ignore(until, name="CVE-1"):
    return [{"id": name, "reason": "never called", "until": until}]


def test_a_vulnerability_with_a_fix_fails_and_one_without_passes(audit):
    assert audit.verdict(report("1.1"), [], TODAY) == (["VULNERABLE: a 1.0: PYSEC-1: raise it to 1.1"], False)
    assert audit.verdict(report(), [], TODAY) == (["no fix yet: a 1.0: PYSEC-1"], True)


@pytest.mark.parametrize("name", ["PYSEC-1", "CVE-1"])
def test_an_advisory_is_ignored_up_to_its_day_by_any_of_its_names(audit, name):
    lines, passes = audit.verdict(report("1.1"), ignore(TODAY, name), TODAY)
    assert (lines, passes) == (["ignored until 2026-01-31: a 1.0: PYSEC-1: never called"], True)
    lines, passes = audit.verdict(report("1.1"), ignore(TODAY - datetime.timedelta(1), name), TODAY)
    assert not passes
    assert lines == ["VULNERABLE: a 1.0: PYSEC-1 (ignored until 2026-01-30, which is over): raise it to 1.1"]


def test_what_was_not_looked_at_and_what_is_ignored_in_vain_is_said(audit):
    lines, passes = audit.verdict(report(name="c", skip_reason="not found"), ignore(TODAY, "CVE-9"), TODAY)
    assert lines == ["no fix yet: a 1.0: PYSEC-1", "not audited: c: not found",
                     "no longer needed in [tool.avss.audit]: CVE-9"]  # fmt: skip
    assert passes


def test_an_exception_without_a_reason_or_a_day_is_refused(audit):
    for entry in (
        {"id": "CVE-1", "until": TODAY},
        {"id": "CVE-1", "reason": "x"},
        ignore(TODAY)[0] | {"reason": ""},
    ):
        with pytest.raises(ValueError, match=r"\[tool\.avss\.audit\] .*CVE-1.*give id, reason and until"):
            audit.verdict(report("1.1"), [entry], TODAY)


class Advisories(BaseHTTPRequestHandler):
    """A service that knows of the releases in its `bad`, by package."""

    def log_message(self, *_args):
        pass

    def do_POST(self):
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        name = asked["package"]["name"]
        self.server.asked.append(name)
        fixed = self.server.bad.get(name)
        package = {"name": name, "ecosystem": "PyPI"}
        ranges = [{"type": "ECOSYSTEM", "events": [{"introduced": "0"}, {"fixed": fixed}]}]
        found = {"vulns": [{"id": f"OSV-{name}", "affected": [{"package": package, "ranges": ranges}]}]}
        body = json.dumps(found if fixed else {}).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


@pytest.fixture
def service():
    server = ThreadingHTTPServer(("127.0.0.1", 0), Advisories)
    server.bad, server.asked = {"jinja2": "3.1.7"}, []
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


def run(address, *arguments):
    nowhere = "http://127.0.0.1:9"  # nothing leaves this machine, whatever the network of it
    environment = {"PIP_AUDIT_OSV_URL": address, "HTTPS_PROXY": nowhere, "https_proxy": nowhere,
                   "NO_PROXY": "127.0.0.1", "no_proxy": "127.0.0.1"}  # fmt: skip
    command = [sys.executable, str(ROOT / ".ci" / "audit.py"), *arguments]
    done = subprocess.run(command, env=os.environ | environment, capture_output=True, text=True, check=False)
    return done.returncode, done.stdout


@pytest.mark.slow
def test_every_pin_is_asked_about_and_one_that_can_be_mended_fails(service):
    code, shown = run(f"http://127.0.0.1:{service.server_port}")
    name = next(pin for pin in PINS if pin.lower().startswith("jinja2==")).partition("==")[2].split()[0]
    assert f"VULNERABLE: jinja2 {name}: OSV-jinja2: raise it to 3.1.7" in shown
    assert shown.endswith(f"{len(PINS)} packages audited with osv: failed\n")
    assert code == 1
    assert len(set(service.asked)) == len(PINS)


@pytest.mark.slow
def test_nobody_there_is_said_and_fails_only_where_an_answer_is_required(service):
    service.bad = {}  # a mirror that answers, and knows nothing
    for address in (f"http://127.0.0.1:{service.server_port}", "http://127.0.0.1:9"):
        expected = "not audited: service not reachable (asked osv, pypi)\n"
        assert run(address) == (0, expected)
        assert run(address, "--required") == (1, expected)


def test_the_checks_of_a_change_end_with_the_audit():
    assert (ROOT / ".ci" / "run").read_text().splitlines()[-2:] == ["make test", "exec make audit"]
    assert re.search(r"^audit: \$\(INSTALLED\)", (ROOT / "Makefile").read_text(), re.MULTILINE)
