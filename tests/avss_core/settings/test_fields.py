import pytest


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
