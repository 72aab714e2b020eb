"""A scratch copy of the repository in which tests call git and DVC."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

from ruamel.yaml import YAML

ROOT = Path(__file__).resolve().parents[2]


class Project:
    """A scratch copy of the repository, with git and DVC."""

    def __init__(self, root):
        self.root = root
        # Nothing of the machine's own settings takes part.
        places = {name: str(root.parent / "dvc") for name in ("SITE_CACHE", "GLOBAL_CONFIG", "SYSTEM_CONFIG")}
        kept = {name for name in os.environ if not name.startswith(("DVC_", "AWS_", "GIT_"))}
        self.environment = {
            **{name: os.environ[name] for name in kept},
            **{f"DVC_{name}_DIR": place for name, place in places.items()},
            "DVC_NO_ANALYTICS": "1",
        }

    def run(self, *command, **environment):
        done = subprocess.run(
            command,
            cwd=self.root,
            env=self.environment | environment,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
        return done.stdout

    def git(self, *arguments):
        return self.run("git", "-c", "user.name=t", "-c", "user.email=t@t", *arguments)

    def dvc(self, *arguments, **environment):
        return self.run(sys.executable, "-m", "dvc", *arguments, **environment)

    def commit(self, message):
        self.git("add", "--all")
        self.git("commit", "--quiet", "--message", message)

    def clone(self, folder):
        self.git("clone", "--quiet", str(self.root), str(folder))
        return Project(folder)

    def set(self, **changes):
        yaml = YAML()
        path = self.root / "params.yaml"
        content = yaml.load(path)
        for key, value in changes.items():
            section, _, name = key.partition(".")
            content[section][name] = value
        yaml.dump(content, path)

    def fill(self):
        """Copy what a stage may read."""
        listed = ["git", "ls-files", "--cached", "--others", "--exclude-standard"]
        names = subprocess.run(listed, cwd=ROOT, capture_output=True, text=True, check=True).stdout.split()
        for name in names:
            if not name.startswith(("tests/", "benchmarks/", "docs/")) and (ROOT / name).is_file():
                (self.root / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(ROOT / name, self.root / name)
