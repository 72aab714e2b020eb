"""What the pages name is there: files, headings, settings; the README shows rows of the page of results."""

import re
from pathlib import Path
from xml.etree import ElementTree

from ruamel.yaml import YAML

ROOT = Path(__file__).resolve().parents[2]

CODE = ("avss_core/", "tasks/", "flows/", "tests/", "benchmarks/", "docs/", ".ci/", "data/sample")
METRICS = {"heal.validation_loss", "repair.projections", "localize.probe_auroc", "score.avss"}
"""Names in MLflow's history that look like settings."""


def test_every_link_leads_to_a_file_and_a_heading_that_are_there(pages):
    dead = []
    for page in pages.values():
        for link in page.links:
            if re.match(r"[a-z]+:", link):
                continue
            file, _, anchor = link.partition("#")
            target = (page.path.parent / file).resolve() if file else page.path
            known = pages.get(target.relative_to(ROOT).as_posix())
            if not target.is_file() or (anchor and (known is None or anchor not in known.anchors)):
                dead.append(f"{page.name}: {link}")
    assert dead == []


def test_every_page_is_on_the_map_and_in_the_readme(pages):
    names = {Path(name).name for name in pages if name.startswith("docs/")} - {"index.md"}
    index, readme = pages["docs/index.md"], pages["README.md"]
    maps = [fence.content for fence in index.fences if fence.info == "{toctree}"]
    listed = {f"{line}.md" for content in maps for line in content.splitlines() if line.isidentifier()}
    assert listed == names
    assert {link.partition("#")[0] for link in readme.links} >= {f"docs/{name}" for name in names}


def test_every_path_is_in_the_tree_or_is_what_a_run_leaves(pages):
    from flows.running.workspace import Workspace

    stages = YAML(typ="safe").load(ROOT / "dvc.yaml")["stages"]
    outputs = [
        name
        for stage in stages.values()
        for out in stage["outs"]
        for name in ([out] if isinstance(out, str) else out)
    ]
    outputs += [
        place.as_posix()
        for name in vars(Workspace)
        if isinstance(place := getattr(Workspace(Path()), name), Path)
    ]
    strange = []
    for page in pages.values():
        for code in page.codes:
            if code.startswith(CODE) and " " not in code and "..." not in code:
                if not list(ROOT.glob(re.sub("[A-Z]{3,}", "*", code).removesuffix("/"))):
                    strange.append(f"{page.name}: {code}")
            elif re.fullmatch(r"(data|reports)/[\w./*]+", code) and not any(
                code.startswith(out) or out.startswith(code) for out in outputs
            ):
                strange.append(f"{page.name}: {code}")
    assert strange == []


def test_every_setting_is_in_the_schema_and_takes_the_value_that_is_named(pages):
    from avss_core.settings.params import Params, known_keys
    from avss_core.settings.reading import load_params

    wrong = {}
    for page in pages.values():
        for code in page.codes if page.name != "CHANGELOG.md" else ():  # which names what is gone
            found = re.fullmatch(r"([a-z]+\.[a-z_0-9]+)(?:: (.+))?", code)
            if not found or found[1].partition(".")[0] not in Params.model_fields or found[1] in METRICS:
                continue
            if Path(code).suffix in {".md", ".json", ".yaml", ".py"}:
                continue
            if found[1] not in known_keys():
                wrong[f"{page.name}: {code}"] = "unknown"
            elif found[2]:
                try:
                    load_params(ROOT / "params.yaml", ["data.source=path", f"{found[1]}={found[2]}"])
                except ValueError as error:
                    wrong[f"{page.name}: {code}"] = str(error)
    assert wrong == {}


def test_the_results_of_the_readme_are_rows_of_the_page_of_results(pages):
    section = pages["README.md"].text.partition("## Results")[2].partition("\n## ")[0]
    rows = [line for line in section.splitlines() if line.startswith("| ")]
    assert len(rows) == 2 + 3, "a head, and what is kept of answers, sentiment and text"
    assert set(rows) <= set(pages["docs/results.md"].text.splitlines())


def test_the_picture_of_the_readme_is_of_the_run_of_its_results(pages):
    drawing = ElementTree.parse(ROOT / "docs/images/overview.svg").getroot()
    told = [title.text or "" for title in drawing.iter("{http://www.w3.org/2000/svg}title")]
    assert sum(title.startswith("layer ") and "removed" in title for title in told) == 7
    text, answers, sentiment = (
        row for name in ("language modelling, NLL", "mean of the sets", "sentiment, accuracy")
        for row in pages["README.md"].rows if row[0] == name
    )  # fmt: skip
    for place, model in enumerate(("pruned", "repaired", "healed"), start=1):
        drawn = [title for title in told if title.startswith(f"{model}, kept")]
        for title, row in zip(drawn, (text, answers, sentiment), strict=True):
            pairs = zip(_numbers(title), _numbers(row[place]), strict=True)
            assert all(abs(one - other) < 0.6 for one, other in pairs), (title, row[place])


def _numbers(text):
    """Return a share and the ends of its interval, in percent."""
    return [float(number) for number in re.findall(r"-?[\d.]+", text.replace("\u2212", "-"))]


def test_the_kappas_of_the_fitted_judges_are_those_of_the_code(pages):
    from avss_core.judges.fitted_judge import FILE, read_fits
    from avss_core.judges.judges import UNCHOSEN

    rows = {row[0]: row[1:] for row in pages["docs/stages.md"].rows}
    measured = {name: fit.kappa["model left out"] for name, fit in read_fits(FILE).items()}
    ways = [("fitted", way, f"{way} left out") for way in ("gpt2-xl", "gpt-j-6b", "llama-7b")]
    ways += [(name, "together", "together") for name in ("fitted", "fitted_lexical")]
    for name, way, said in ways:
        key = {"llama-7b": "llama-7b-hf"}.get(way, way)
        values = [measured[name][each][key] for each in UNCHOSEN]
        for shown, value in zip(rows[f"`{name}`, {said}"], values, strict=True):
            assert abs(float(shown) - value) < 0.00051, (name, said)
    expected = [f"{value:.2f}".removeprefix("0") for value in UNCHOSEN.values()]
    assert rows["`fitted`, on models that nobody chose on"] == expected
    limits = pages["docs/limits.md"].text.partition("On models that nobody chose on")[2]
    assert re.findall(r"\.\d\d", limits.partition("expect")[0]) == expected


def test_the_page_on_the_report_has_its_sections_in_order(pages):
    from tasks.report.page_context import SECTIONS

    templates = [ROOT / f"tasks/report/templates/section_{name}.html.j2" for name in SECTIONS]
    titles = [
        re.findall(r"<h2[^>]*>(?:\d+\. )?(.+?)(?:{{.*)?</h2>", path.read_text("utf-8")) for path in templates
    ]
    known = [title for (title,) in titles]
    assert [heading for heading in pages["docs/reading_the_report.md"].headings if heading in known] == known


def test_the_reference_has_every_module_of_a_name_that_the_package_offers(pages):
    import avss_core

    shown = set(re.findall(r"automodule:: (\S+)", pages["docs/api.md"].text))
    assert {getattr(avss_core, name).__module__ for name in avss_core.__all__} <= shown
