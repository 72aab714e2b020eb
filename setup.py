"""Put params.yaml, the settings that a person edits in the repository, into what is installed."""

from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py


class WithParams(build_py):
    """Copies modules and data, and params.yaml with them."""

    def run(self) -> None:
        """Copy."""
        super().run()
        if not self.editable_mode:  # which reads the file at the root
            self.copy_file("params.yaml", str(Path(self.build_lib, "avss_core", "settings", "params.yaml")))


setup(cmdclass={"build_py": WithParams})
