"""What the tests of the core's commands use."""

from tests.avss_core.cli.conftest import avss, bare, data, model, pruned, refused, text

__all__ = ["avss", "bare", "data", "model", "pruned", "refused", "text"]
