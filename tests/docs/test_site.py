"""What makes the site of the pages: links that lead nowhere fail, formulas need no script."""

import shutil
from pathlib import Path

import pytest
from sphinx.cmd.build import main

ROOT = Path(__file__).resolve().parents[2]
pytestmark = pytest.mark.filterwarnings("ignore")  # of what Sphinx and its extensions use

PAGE = (
    "# A page\n\nAn angle $\\alpha$ and\n\n$$\n\\frac{\\operatorname{Var}(u)}{\\sigma^2}\n$$\n\n## A part\n"
)


@pytest.fixture
def build(tmp_path, capfd):
    """Build a site of one page, and return the exit code, what was said, and the page as HTML."""

    def call(page):
        source = tmp_path / "source"
        source.mkdir(exist_ok=True)
        shutil.copy(ROOT / "docs" / "conf.py", source)
        (source / "index.md").write_text(page, encoding="utf-8")
        code = main(["-q", "-W", "-n", "--keep-going", str(source), str(tmp_path / "site")])
        return code, capfd.readouterr().err, (tmp_path / "site" / "index.html").read_text(encoding="utf-8")

    return call


def test_formulas_are_mathml_and_links_within_the_site_hold(build):
    code, said, page = build(f"{PAGE}\n[there](#a-part)\n")
    assert (code, said) == (0, "")
    assert page.count("<math") == 2
    assert 'src="http' not in page
    assert "MathJax" not in page


@pytest.mark.parametrize(
    ("added", "reason"),
    [
        ("[there](gone.md)", "gone.md"),
        ("[there](#no-such-part)", "no-such-part"),
        ("![there](gone.png)", "gone.png"),
        ("$\\nosuchcommand{a}$", "a command is unknown"),
    ],
)
def test_what_leads_nowhere_fails(build, added, reason):
    code, said, _ = build(f"{PAGE}\n{added}\n")
    assert code == 1
    assert reason in said
