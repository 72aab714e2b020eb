"""Scores, judges and architectures of other distributions: command line, settings and report take them."""

import importlib
import json
import subprocess
import sys
from pathlib import Path

import pytest

from avss_core.plugins import GROUPS, entries
from tests.avss_core.cli.calls import ROOT, SETTINGS
from tests.avss_core.cli.conftest import avss, model, refused

__all__ = ["avss", "model", "refused"]

SCORE = """
import torch
from avss_core.scores.scores import Score

SCORE = Score(lambda evidence: torch.arange(evidence.layers, dtype=torch.float64).square(), "depth squared",
              needs="nothing")
MLP = Score(lambda evidence: None, "never asked", site="mlp")
"""
JUDGE = """
from avss_core.judges.judges import Judge

JUDGE = Judge("long", lambda rows: [len(answer) > 3 for _, answer, _ in rows], "more than three letters")
"""


@pytest.fixture
def bring(tmp_path, monkeypatch):
    """Put a distribution on the path: its one module, and what its entry points name, by group and name."""
    from avss_core.judges.judges import JUDGES
    from avss_core.models.architectures import ARCHITECTURES
    from avss_core.registry import SCORE_SITES
    from avss_core.scores.scores import SCORES

    for table in (JUDGES, ARCHITECTURES, SCORE_SITES, SCORES):
        monkeypatch.setattr(table, "_loaded", {})
    made = []

    def distribution(module, source, points, version="1.2"):
        folder = tmp_path / "site"
        described = folder / f"{module}-{version}.dist-info"
        described.mkdir(parents=True)
        (folder / f"{module}.py").write_text(source, encoding="utf-8")
        (described / "METADATA").write_text(
            f"Metadata-Version: 2.1\nName: {module}\nVersion: {version}\n", encoding="utf-8"
        )
        lines = [
            f"[{group}]\n" + "".join(f"{name} = {module}:{place}\n" for name, place in named.items())
            for group, named in points.items()
        ]
        (described / "entry_points.txt").write_text("\n".join(lines), encoding="utf-8")
        if str(folder) not in sys.path:
            monkeypatch.syspath_prepend(folder)
        importlib.invalidate_caches()
        entries.cache_clear()
        made.append(module)
        return folder

    yield distribution
    entries.cache_clear()
    for module in made:
        sys.modules.pop(module, None)


def load(*changes):
    from avss_core.settings.reading import load_params

    return load_params(ROOT / "params.yaml", list(changes))


def test_the_command_line_scores_and_prunes_by_the_score_of_another_distribution(avss, bring, model):
    bring("avss_mine", SCORE, {"avss.scores": {"mine": "SCORE"}})
    printed = avss("score", model, "--score", "mine", "--ratio", "0.34", "--json", *SETTINGS).json
    assert (printed["score"], printed["reference"]) == ("mine", "depth squared")
    assert [row["score"] for row in printed["layers"]] == [0, 1, 4, 9, 16, 25]
    assert printed["removed"] == [0, 1]
    assert avss("prune", model, "--score", "mine", "--ratio", "0.34", "--out", "p", *SETTINGS).code == 0
    assert json.loads(Path("p/certificate.json").read_text())["layer_map"] == [2, 3, 4, 5]


def test_the_help_names_it_and_imports_nothing_of_it(bring):
    folder = bring("avss_broken", "raise RuntimeError('imported')", {"avss.scores": {"mine": "SCORE"}})
    code = "from avss_core.registry import SCORE_SITES; print(list(SCORE_SITES)[-1], 'torch' in sys.modules)"
    shown = subprocess.run(
        [sys.executable, "-c", f"import sys; sys.path.insert(0, {str(folder)!r}); {code}"],
        capture_output=True, text=True, check=True,
    ).stdout  # fmt: skip
    assert shown == "mine False\n"


def test_settings_know_its_name_and_its_site(bring):
    bring("avss_mine", SCORE, {"avss.scores": {"mine": "SCORE", "mlp_mine": "MLP"}})
    assert load("score.compare=[avss, mine]").score.compare == ["avss", "mine"]
    with pytest.raises(ValueError, match=r"the score mlp_mine needs the site 'mlp' in collect\.sites"):
        load("score.compare=[mlp_mine]", "collect.sites=[update]")
    with pytest.raises(ValueError, match=r"unknown score 'min': did you mean mine\?"):
        load("score.compare=[min]")


@pytest.mark.parametrize(
    ("source", "place", "reason"),
    [
        ("import nowhere_at_all", "SCORE", "ModuleNotFoundError: No module named 'nowhere_at_all'"),
        ("SCORE = 1", "OTHER", "AttributeError: module 'avss_bad' has no attribute 'OTHER'"),
        ("SCORE = len", "SCORE", "TypeError: it is of the type builtin_function_or_method, and a Score is "),
    ],
)
def test_one_that_cannot_be_used_is_named_with_its_distribution(refused, bring, model, source, place, reason):
    bring("avss_bad", source, {"avss.scores": {"bad": place}})
    message = refused("score", model, "--score", "bad", *SETTINGS)
    assert message.startswith(
        f"the score 'bad' of the distribution avss_bad 1.2 cannot be loaded from avss_bad:{place}: {reason}"
    )
    assert message.endswith("mend or remove that distribution")
    load("score.compare=[avss]")  # nobody else is stopped


def test_a_name_that_exists_is_refused_with_both_holders(bring):
    from avss_core.judges.judges import judge

    bring("avss_mine", SCORE + JUDGE, {"avss.scores": {"avss": "SCORE"}, "avss.judges": {"long": "JUDGE"}})
    bring("avss_other", JUDGE, {"avss.judges": {"long": "JUDGE"}})
    with pytest.raises(ValueError, match="'avss' is there 2 times: of AVSS itself and of the distribution"):
        load("score.compare=[avss]")
    with pytest.raises(ValueError, match="'long' is there 2 times: of the distribution avss_"):
        judge("long")
    load("score.compare=[angular]")


def test_a_judge_of_another_distribution_is_a_setting_judges_and_stands_in_the_report(bring, tmp_path):
    from avss_core.judges.judges import judge
    from tasks.report.figures.figures import DRAWINGS
    from tests.tasks.report_records import run_records, write_run

    bring("avss_mine", JUDGE, {"avss.judges": {"long": "JUDGE"}})
    assert load("evaluate.judge=long").evaluate.judge == "long"
    assert judge("long").verdicts([("q", "four", ["a"]), ("q", "one", ["one"])]) == [True, False]
    records = run_records()
    sets = records["evaluation/figures.json"]["dense"]["sets"]
    sets["nq"] = sets["nq"] | {"judge": "long"}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            "tasks.render.write_figures", lambda _records, _folder: dict.fromkeys(DRAWINGS, "<svg></svg>")
        )
        write_run(records, tmp_path)
    page = (tmp_path / "reports" / "index.html").read_text(encoding="utf-8")
    assert "long <small" in page
    assert "more than three letters; agreement with GPT-4 unknown for this set" in page


FAMILY = """
from transformers import AutoConfig, AutoModelForCausalLM, LlamaConfig, LlamaForCausalLM

from avss_core.models.families import LLAMA


class MineConfig(LlamaConfig):
    model_type = "mine"


class MineForCausalLM(LlamaForCausalLM):
    config_class = MineConfig


AutoConfig.register("mine", MineConfig)
AutoModelForCausalLM.register(MineConfig, MineForCausalLM)
FAMILY = LLAMA
"""


def test_a_family_of_another_distribution_loads_with_its_classes(bring, tiny_llama, tokenizer, tmp_path):
    from avss_core.models.architectures import depth
    from avss_core.models.loading import load_config, load_model
    from avss_core.surgery.pruning import prune

    folder = tmp_path / "checkpoint"
    tiny_llama.save_pretrained(folder)
    settings = json.loads((folder / "config.json").read_text())
    settings |= {"model_type": "mine", "architectures": ["MineForCausalLM"]}
    (folder / "config.json").write_text(json.dumps(settings))
    with pytest.raises((LookupError, ValueError), match="mine"):
        load_config(str(folder))
    bring("avss_family", FAMILY, {"avss.architectures": {"mine": "FAMILY"}})
    assert depth(load_config(str(folder))) == 6
    assert depth(prune(load_model(str(folder)), [1, 4]).config) == 4


def test_the_code_of_a_plug_in_is_in_the_keys_of_what_it_can_change(bring):
    from avss_core.caching.fingerprints import fingerprint

    judging, counting = "avss_core.judges.judges", "avss_core.statistics.moments"
    before = [fingerprint.__wrapped__(name) for name in (judging, counting)]
    folder = bring("avss_mine", JUDGE, {"avss.judges": {"long": "JUDGE"}})
    brought = [fingerprint.__wrapped__(name) for name in (judging, counting)]
    (folder / "avss_mine.py").write_text(JUDGE.replace("> 3", "> 4"), encoding="utf-8")
    edited = [fingerprint.__wrapped__(name) for name in (judging, counting)]
    assert len({before[0], brought[0], edited[0]}) == 3
    assert before[1] == brought[1] == edited[1]


def test_the_documentation_names_every_group():
    pages = "".join(
        (ROOT / "docs" / f"adding_{name}.md").read_text("utf-8") for name in ("a_score", "an_architecture")
    )
    for group in GROUPS:
        assert f'[project.entry-points."{group}"]' in pages
