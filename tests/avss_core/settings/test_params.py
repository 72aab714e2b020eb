from pathlib import Path

import pytest
from ruamel.yaml import YAML

PARAMS = Path(__file__).resolve().parents[3] / "params.yaml"


def test_the_file_shows_every_default():
    from avss_core.settings.params import Params

    assert YAML(typ="safe", pure=True).load(PARAMS) == Params().model_dump()


def test_defaults_are_checked_like_given_values():
    from avss_core.settings.params import Params

    with pytest.raises(ValueError, match="needs the site 'update'"):
        Params.model_validate({"collect": {"sites": ["output"]}})


@pytest.mark.parametrize("section", ["collect", "repair", "evaluate", "heal"])
def test_a_batch_size_is_a_number_or_auto(load, refused, section):
    more = ["score.compare=[avss]"]
    for value in (1, 7, "auto"):
        assert getattr(load(f"{section}.batch_size={value}", *more), section).batch_size == value
    for value in ("0", "-1", "1.5", "true", "many", "null"):
        (line,) = refused(f"{section}.batch_size={value}", *more)
        assert line.startswith(f"--set {section}.batch_size: it is a number from 1, or auto")


def test_where_results_depend_on_the_batch_it_is_a_number(refused):
    (line,) = refused("collect.batch_size=auto")
    assert "score: the score avss_authors depends on the batch" in line
    (line,) = refused("heal.batch_size=auto", "heal.hidden=0.5")
    assert "heal.hidden: it is a mean over a batch: give heal.batch_size a number" in line
    assert refused("mitigate.batch_size=auto")


def test_the_parameters_cannot_be_changed_by_accident(load):
    with pytest.raises(ValueError, match="frozen"):
        load().prune.ratio = 0.5


def test_flat_names_every_value(load):
    from avss_core.settings.params import known_keys

    flat = load().flat()
    assert flat["seed"] == 0
    assert flat["collect.sites"] == ["output", "update"]
    assert set(flat) == {key for key in known_keys() if "." in key} | {"seed"}


def test_only_a_streamed_text_must_be_asked_for_in_time(load):
    assert load("data.source=hub", "evaluate.tokens=99488").evaluate.tokens == 99488
    enough = load("data.source=hub", "data.text=pile", "evaluate.tokens=99488", "data.characters=600000")
    assert enough.data.streamed


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
