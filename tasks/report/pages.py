"""The jinja2 environment of every page, with the functions that write numbers and changes."""

from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from avss_core.metrics.right_answers import few_right
from tasks.report.words.evidence import MARKS, called
from tasks.report.words.wording import (
    NAMES,
    change_text,
    figure_text,
    interval_text,
    listed,
    number,
    setting_text,
    share_kept,
    significant,
)


def environment() -> Environment:
    """Return the environment of `templates`: texts of records are escaped, a missing name is an error."""
    pages = Environment(
        loader=FileSystemLoader(Path(__file__).parent / "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    filters = (number, significant, listed, setting_text)
    words = (figure_text, interval_text, change_text, share_kept, called, few_right)
    pages.filters.update({each.__name__: each for each in filters})
    pages.globals.update({each.__name__: each for each in words})
    pages.globals |= {"figure_names": NAMES, "marks": MARKS}
    return pages
