"""How pages are rendered: one jinja2 environment, with what every page says numbers and changes by."""

from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from tasks.wording import (
    NAMES,
    change_text,
    direction,
    figure_text,
    interval_text,
    listed,
    number,
    setting_text,
    share_kept,
    significant,
)


def environment() -> Environment:
    """Return the environment of `tasks/templates`: texts of records are escaped, a missing name fails."""
    pages = Environment(
        loader=FileSystemLoader(Path(__file__).parent / "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    for word in (number, significant, listed, setting_text):
        pages.filters[word.__name__] = word
    for word in (figure_text, interval_text, change_text, share_kept, direction):
        pages.globals[word.__name__] = word
    pages.globals["figure_names"] = NAMES
    return pages
