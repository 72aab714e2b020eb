"""How Sphinx makes the site of these pages: `make docs`. Nothing on it is fetched from elsewhere."""

import re
from typing import Any

from docutils import nodes
from latex2mathml.converter import convert
from sphinx.application import Sphinx
from sphinx.util import logging

project = "AVSS"
author = "The AVSS authors"
copyright = author

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
exclude_patterns = ["_build"]

# The pages are read on a Git forge, too: plain links, GitHub's names of headings, $ and $$ for mathematics.
myst_enable_extensions = ["dollarmath"]
myst_heading_anchors = 4

html_theme = "furo"
html_title = project
html_copy_source = False
html_show_sphinx = False
html_math_renderer = "mathml"

autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_default_options = {"members": True}
default_role = "code"  # docstrings write `name`
# Types of other libraries are described on their own sites, which a build without a network does not know.
nitpick_ignore_regex = [("py:.*", ".*")]

# `make docs ARGS="-b linkcheck"` asks every other site once, not the servers of examples.
linkcheck_ignore = [r"http://(127\.0\.0\.1|localhost|the-server)", r"https?://[^/]*example\.org"]

_LOGGER = logging.getLogger(__name__)


def _mathml(node: nodes.math | nodes.math_block, display: str) -> str:
    """Return a formula as MathML, which browsers draw by themselves; warn of a command that is not known."""
    try:
        found = convert(node.astext(), display=display)
    except Exception as error:  # latex2mathml has no common base of its errors
        _LOGGER.warning("formula %r: %s", node.astext(), error, location=node)
        raise nodes.SkipNode from error
    if "\\" in found:
        _LOGGER.warning("formula %r: a command is unknown", node.astext(), location=node)
    return found


def _inline(writer: Any, node: nodes.math) -> None:
    writer.body.append(_mathml(node, "inline"))
    raise nodes.SkipNode


def _block(writer: Any, node: nodes.math_block) -> None:
    writer.body.append(f'<div class="math">{_mathml(node, "block")}</div>\n')
    raise nodes.SkipNode


def _as_written(_app: Any, what: str, _name: str, _object: Any, _options: Any, lines: list[str]) -> None:
    """Keep a docstring's plain text: |x| and a * b of its formulas, and its tables, are no markup."""
    found = "\n\n".join(map(_plain, "\n".join(lines).split("\n\n"))).split("\n")
    # Behind an empty line napoleon does not take "word: text" for a type and its variable.
    lines[:] = ["", *found] if what in {"attribute", "data"} else found


def _plain(paragraph: str) -> str:
    """Return a paragraph of a docstring as reStructuredText that shows it; examples show themselves."""
    if ">>>" in paragraph:
        return paragraph
    if paragraph.startswith("|"):
        return "::\n\n" + "\n".join(f"    {row}" for row in paragraph.split("\n"))
    return re.sub(r"[|*]|_(?=\W)", r"\\\g<0>", paragraph)


def setup(app: Sphinx) -> dict[str, Any]:
    """Add what Sphinx lacks: mathematics without a script."""
    app.add_html_math_renderer("mathml", (_inline, None), (_block, None))
    app.connect("autodoc-process-docstring", _as_written, priority=400)  # before napoleon
    return {"parallel_read_safe": True}
