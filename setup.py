"""Put what a person reads and edits at the root, the settings and the sample, into what is installed."""

import shutil
from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py

COPIED = {
    "params.yaml": "settings/params.yaml",
    "params.schema.json": "settings/params.schema.json",
    "data/sample": "data/sample",
}
"""Places in the repository, and those in the package."""


class WithTheRoot(build_py):
    """Copies the modules and their data, and what lies at the root with them."""

    def run(self) -> None:
        """Copy."""
        super().run()
        if self.editable_mode:  # the repository's own files are read
            return
        for name, place in COPIED.items():
            source, target = Path(name), Path(self.build_lib, "avss_core", place)
            if source.is_dir():
                shutil.copytree(source, target, dirs_exist_ok=True)
            else:
                shutil.copyfile(source, target)


setup(cmdclass={"build_py": WithTheRoot})
