"""Ask a service of security advisories about every package of constraints.txt; `make audit` runs this.

A known advisory that a newer version mends fails. `[tool.avss.audit]` in pyproject.toml lists those that may
stay, each with a reason and a last day. Where no service can be reached nothing was audited:
that is said, and is no failure, unless `--required` is given.
"""

import argparse
import datetime
import json
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent

SERVICES = ("osv", "pypi")
"""Of pip-audit, in the order in which they are asked."""

KNOWN_BAD = "jinja2==2.4.1"
"""A release with public advisories: a service that names none is a mirror without any, or is not there."""

Report = Mapping[str, Any]


def ask(service: str, requirements: Path) -> Report | None:
    """Return what a service says of pinned packages, None where it does not answer."""
    with tempfile.TemporaryDirectory() as cache:
        command = [
            sys.executable,
            "-m",
            "pip_audit",
            "--requirement",
            str(requirements),
            "--no-deps",
            "--disable-pip",
        ]
        command += ["--vulnerability-service", service, "--format", "json", "--progress-spinner", "off"]
        command += ["--timeout", "10", "--cache-dir", cache]
        # Its exit code is 1 both for a vulnerability and for a failure: the answer tells them apart.
        answer = subprocess.run(command, capture_output=True, text=True, check=False).stdout
    try:
        report: Report = json.loads(answer)
    except json.JSONDecodeError:
        return None
    return report


def knows_advisories(service: str) -> bool:
    """Tell whether a service answers, and has advisories to answer with."""
    with tempfile.TemporaryDirectory() as folder:
        requirements = Path(folder) / "requirements.txt"
        requirements.write_text(f"{KNOWN_BAD}\n", encoding="utf-8")
        report = ask(service, requirements)
    return report is not None and any(package.get("vulns") for package in report["dependencies"])


def verdict(
    report: Report, ignored: Sequence[Mapping[str, Any]], today: datetime.date
) -> tuple[list[str], bool]:
    """Return the lines to print, and whether the audit passes.

    Args:
        report: what `ask` returned.
        ignored: advisories that may stay, each with `id`, `reason` and `until`.
        today: an entry counts up to and on its day `until`.

    Raises:
        ValueError: an entry lacks one of its fields.
    """
    for entry in ignored:
        if {"id", "reason", "until"} - entry.keys() or not entry["reason"]:
            raise ValueError(f"[tool.avss.audit] {dict(entry)}: give id, reason and until")
    lines, passes, unused = [], True, {entry["id"]: entry for entry in ignored}
    for package in report["dependencies"]:
        if "skip_reason" in package:
            lines.append(f"not audited: {package['name']}: {package['skip_reason']}")
        for found in package.get("vulns", ()):
            what = f"{package['name']} {package['version']}: {found['id']}"
            names = {found["id"], *found["aliases"]}
            entry = next((unused.pop(name) for name in list(unused) if name in names), None)
            if entry is not None and today <= entry["until"]:
                lines.append(f"ignored until {entry['until']}: {what}: {entry['reason']}")
            elif found["fix_versions"]:
                passes = False
                over = f" (ignored until {entry['until']}, which is over)" if entry else ""
                lines.append(f"VULNERABLE: {what}{over}: raise it to {' or '.join(found['fix_versions'])}")
            else:
                lines.append(f"no fix yet: {what}")
    lines += [f"no longer needed in [tool.avss.audit]: {name}" for name in unused]
    return lines, passes


def main(arguments: Sequence[str]) -> int:
    """Audit, say what was found, and return the exit code."""
    parser = argparse.ArgumentParser(description="Ask about advisories on the pinned packages.")
    parser.add_argument("--required", action="store_true", help="fail where no service can be reached")
    options = parser.parse_args(arguments)
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["avss"]["audit"]
    service = next(filter(knows_advisories, SERVICES), None)
    report = None if service is None else ask(service, ROOT / "constraints.txt")
    if report is None:
        print(f"not audited: service not reachable (asked {', '.join(SERVICES)})")
        return 1 if options.required else 0
    lines, passes = verdict(report, settings["ignore"], datetime.datetime.now(datetime.UTC).date())
    audited = sum("skip_reason" not in package for package in report["dependencies"])
    print(
        "\n".join([*lines, f"{audited} packages audited with {service}: {'passed' if passes else 'failed'}"])
    )
    return 0 if passes else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
