"""Partial and older files of settings load; their schema is the one that is kept."""

import json
from pathlib import Path

import pytest
from ruamel.yaml import YAML

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture
def written(tmp_path):
    def write(text):
        path = tmp_path / "own.yaml"
        path.write_text(text, encoding="utf-8")
        return path

    return write


@pytest.mark.parametrize("text", ["", "# nothing", "heal:\n", "{}", "seed: 0\nheal: {}\n"])
def test_what_a_file_leaves_out_has_its_default(load, written, text):
    assert load(path=written(text)) == load()


def test_a_partial_file_changes_what_it_names_alone(load, written):
    after = load("evaluate.limit=7", path=written("prune:\n  ratio: 0.4\nseed: 3\n")).flat()
    assert (after.pop("prune.ratio"), after.pop("seed"), after.pop("evaluate.limit")) == (0.4, 3, 7)
    assert after.items() < load().flat().items()


@pytest.mark.parametrize("text", ["prune: 3", "prune: {ration: 1}", "prunes: {ratio: 0.1}"])
def test_a_partial_file_is_checked_all_the_same(refused, written, text):
    assert refused(path=written(text))


@pytest.mark.parametrize(
    ("older", "today", "said"),
    [
        ("score: {workers: 2}", "execution.workers=2", "score.workers is called execution.workers now"),
        ("model: {device: auto}", "model.device=spread", "model.device: auto is called spread now"),
        (
            "heal: {labels: 3}",
            "seed=0",
            "heal.labels is not read any more: label words weigh as heal.answers says",
        ),
    ],
)
def test_older_words_load_with_a_warning(load, written, capsys, older, today, said):
    path = written(older)
    assert load(path=path) == load(today)
    assert capsys.readouterr().err == f"warning: {path}: {said}\n"
    ((section, values),) = YAML(typ="safe", pure=True).load(older).items()
    ((key, value),) = values.items()
    assert load(f"{section}.{key}={value}") == load(today)
    assert capsys.readouterr().err == f"warning: --set: {said}\n"


def test_every_older_name_leads_to_one_of_today_and_is_none_itself():
    from avss_core.settings.params import known_keys
    from avss_core.settings.renames import REMOVED, RENAMED, VALUES

    known = set(known_keys())
    assert set(RENAMED.values()) | set(VALUES) <= known
    assert not {*RENAMED, *REMOVED} & known


def test_settings_are_written_so_that_they_can_be_read(load, written):
    from avss_core.settings.reading import params_text

    params = load("prune.layers=[1, 2]", "collect.threshold=3e-7", "evaluate.limit=null")
    text = params_text(params)
    assert load(path=written(text)) == params
    assert list(YAML(typ="safe", pure=True).load(text)) == list(type(params).model_fields)


def test_the_schema_for_editors_is_the_one_that_is_kept():
    from avss_core.settings.editor_schema import SCHEMA, editor_schema

    assert json.loads((ROOT / SCHEMA).read_text(encoding="utf-8")) == editor_schema()
    first = (ROOT / "params.yaml").read_text(encoding="utf-8").splitlines()[0]
    assert first == f"# yaml-language-server: $schema={SCHEMA}"


def test_the_schema_knows_what_the_settings_know():
    from avss_core.settings.editor_schema import editor_schema

    kinds = editor_schema()["$defs"]
    keys = {(kind, key): value for kind, each in kinds.items() for key, value in each["properties"].items()}
    assert keys["Prune", "ratio"]["description"] == "share of the layers that goes, rounded down"
    assert keys["Prune", "ratio"]["exclusiveMaximum"] == 1
    assert "cheapest" in keys["ScoreSection", "name"]["enum"]
    assert "avss" in keys["ScoreSection", "compare"]["items"]["enum"]
    assert all(each["additionalProperties"] is False for each in kinds.values())
