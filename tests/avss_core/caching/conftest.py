"""A copy of the project's code, which a test may edit and run."""

from tests.tasks.cache.conftest import python_in, tree

__all__ = ["python_in", "tree"]
