"""The page of equations has what the registries have: no name is missing, and none is made up."""

import inspect
import re
from pathlib import Path

import pytest

from avss_core.hallucination import localization
from avss_core.judges import judges
from avss_core.metrics import summary
from avss_core.models import activations
from avss_core.scores import scores
from avss_core.statistics import statistics
from avss_core.training.mitigation import controls

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs" / "mathematics.md").read_text(encoding="utf-8")
SECTIONS = {part.partition("\n")[0]: part for part in PAGE.split("\n## ")[1:]}
ENTRIES = {"Scores": scores.SCORES, "EAVSS": localization.READINGS, "Figures of answers": summary.FIGURES}


def entries(section: str) -> dict[str, str]:
    """Return the text of each entry of a section that is called as in the code."""
    return dict(re.findall(r"^### `(\w+)`\n(.*?)(?=^### |\Z)", SECTIONS[section], re.MULTILINE | re.DOTALL))


def rows(text: str) -> list[str]:
    """Return the names in the first cells of the tables of a text."""
    return re.findall(r"^\| `([^`]+)` \|", text, re.MULTILINE)


@pytest.mark.parametrize("section", ENTRIES)
def test_every_name_of_a_registry_has_its_entry(section: str) -> None:
    assert list(entries(section)) == list(ENTRIES[section])


@pytest.mark.parametrize("section", ENTRIES)
def test_every_entry_has_equation_unit_zero_and_source(section: str) -> None:
    for name, text in entries(section).items():
        assert text.count("$$") >= 2, name
        assert text.count("$$") % 2 == 0, name
        for line in ("- Unit and direction: ", "- Zero denominators: ", "- Source: "):
            assert text.count(line) == 1, (name, line)


@pytest.mark.parametrize("section", ["Scores", "EAVSS"])
def test_readings_and_sources_are_those_of_the_docstrings(section: str) -> None:
    for name, record in ENTRIES[section].items():
        said = inspect.getdoc(record.function) or ""
        text = entries(section)[name]
        assert set(re.findall(r"\d{4}\.\d{5}", said)) <= set(re.findall(r"\d{4}\.\d{5}", text)), name
        if "Our reading" in said:
            assert "- Our reading: " in text, name


def test_the_tables_have_the_names_of_the_code() -> None:
    from tasks.report.activation_figures import SITE_FIGURES

    tokens, sites = SECTIONS["Figures of tokens and layers"].split("The report shows")
    assert rows(SECTIONS["Sites"]) == list(activations.SITES)
    assert rows(tokens) == [*statistics.BLOCK_FIGURES, *statistics.TOKEN_FIGURES]
    assert rows(sites) == list(SITE_FIGURES)
    assert rows(SECTIONS["Mitigation"]) == list(controls.CONTROLS)
    judged, figures = SECTIONS["Answers and judges"].split("The evaluation reports")
    assert rows(judged) == list(judges.JUDGES)
    assert len(rows(figures)) == 5


def test_the_page_has_every_figure_of_the_report() -> None:
    from avss_core.jobs.evaluation.summaries import LAYER_FIGURES
    from tasks.report.markdown import FIGURES
    from tasks.report.words.wording import MORE_FIGURES, NAMES

    known = {*entries("Figures of answers"), *rows(SECTIONS["Answers and judges"])}
    assert {*NAMES, *MORE_FIGURES, *FIGURES, *LAYER_FIGURES} <= known


def test_the_figures_of_text_and_retention_are_those_of_the_code() -> None:
    from avss_core.evaluation.perplexity import LanguageModelling
    from avss_core.metrics import retention

    perplexities = LanguageModelling(1.0, 1, 1, 1, (1.0,)).perplexities()
    assert rows(SECTIONS["Losses of text"]) == ["nll", *perplexities]
    for name in rows(SECTIONS["What is kept, and intervals"]):
        assert callable(getattr(retention, name))


def test_the_checks_are_those_of_the_certificate() -> None:
    code = "".join(
        (ROOT / "avss_core" / "surgery" / name).read_text(encoding="utf-8")
        for name in ("checks.py", "file_checks.py")
    )
    made = re.findall(r'(?:Check|_tensor_check)\(\s*"([a-z ]+)"', code)
    made.append("loads with transformers")  # made of a name and what was found
    assert set(rows(SECTIONS["The certificate"])) == set(made)


def test_names_from_scores_to_layers_are_functions() -> None:
    from avss_core.scores import choice, ranking, stability

    for name in rows(SECTIONS["From scores to layers"]):
        assert hasattr(ranking, name) or hasattr(choice, name), name
    assert set(rows(SECTIONS["How sure a choice is"])) == set(stability.Stability.__dataclass_fields__)


def test_modules_and_parameters_of_the_page_are_there() -> None:
    from avss_core.settings.params import known_keys

    for module in set(re.findall(r"`((?:avss_core|tasks|flows)/[\w/]+\.py)`", PAGE)):
        assert (ROOT / module).is_file(), module
    sections = "collect|score|prune|heal|mitigate|localize|evaluate|gates"
    for key in set(re.findall(rf"`((?:{sections})\.\w+)`", PAGE)):
        assert key in known_keys(), key


def test_equations_read_the_same_on_a_forge() -> None:
    """A forge takes a backslash before punctuation for its own, and a bar in a table for a new cell."""
    assert re.findall(r"\\[^\w\s]", PAGE) == []
    for line in PAGE.splitlines():
        if line.startswith("|"):
            assert "|" not in "".join(re.findall(r"\$[^$]*\$", line)), line
