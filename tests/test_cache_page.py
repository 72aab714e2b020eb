"""The page about what is kept says what the code does."""

import importlib
import inspect
import re
from pathlib import Path

import pytest

from avss_core.caching.fingerprints import units

PAGE = (Path(__file__).parents[1] / "docs" / "cache.md").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def table():
    """Module, files and values of each unit in the page."""
    rows = [
        [re.findall(r"`([^`]+)`", cell) for cell in line.strip("|").split("|")]
        for line in PAGE.splitlines()
        if line.count("|") == 5
    ]
    return {name[0]: (module[0], files, values) for name, module, files, values in rows if name and module}


def test_the_page_has_every_unit_with_its_module(table):
    assert {name: module for name, (module, _, _) in table.items()} == units()


@pytest.mark.parametrize("name", sorted(units()))
def test_the_page_has_every_argument_of_a_unit_as_file_or_as_value(table, name):
    module, files, values = table[name]
    found = vars(importlib.import_module(module)).values()
    (function,) = (value.fn for value in found if getattr(value, "name", None) == name)
    parameters = inspect.signature(function).parameters
    paths = [key for key, parameter in parameters.items() if "Path" in str(parameter.annotation)]
    assert files == paths
    assert sorted(values) == sorted(parameters.keys() - paths - {"said"})  # which is in no key


def test_the_page_names_no_command_or_option_that_is_not_there():
    from typer.main import get_command

    from flows.commands.cache_command import cache

    commands = get_command(cache).commands
    for line in re.findall(r"^avss cache (.+?)(?: +#.*)?$", PAGE, re.MULTILINE):
        command, *arguments = line.split()
        options = {option for parameter in commands[command].params for option in parameter.opts}
        assert {part for part in arguments if part.startswith("--")} <= options
