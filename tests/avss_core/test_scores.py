import copy
import math
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from transformers import PreTrainedModel

from avss_core.activations import (
    LEAST_CONTRIBUTION,
    TOKEN_FIGURES,
    SiteStatistics,
    Statistics,
    collect_statistics,
)
from avss_core.architectures import blocks
from avss_core.batches import Batch, pad
from avss_core.moments import Moments
from avss_core.pruning import choose_layers, prune
from avss_core.scores import (
    SCORES,
    SHOT_NOISE_COUNT,
    Thresholds,
    avss,
    avss_input,
    avss_output,
    block_influence,
    cumulate,
    find_score,
    normalise,
    random,
    rank,
    rank_agreement,
    shot_noise,
)

THRESHOLDS = Thresholds(absolute=0.5, relative=0.1)
SCORE_LISTS = st.lists(st.floats(0, 1e6), min_size=1, max_size=30)


def layer(
    variance: float = 1, below: int = 0, below_relative: int = 0, below_output: int = 0, **figures: float
) -> SiteStatistics:
    """The statistics of a thousand values of ten tokens."""
    mean = torch.tensor([figures.get(name, 0) for name in TOKEN_FIGURES], dtype=torch.float64)
    values = Moments(1000, torch.zeros(1).double(), torch.tensor([1000 * variance]).double())
    tokens = Moments(10, mean, torch.zeros_like(mean))
    return SiteStatistics(values, tokens, {0.5: below}, {0.1: below_relative}, {0.1: below_output})


def updates(*found: SiteStatistics) -> Statistics:
    return [{"update": each} for each in found]


def batches(doubled: bool = False) -> list[Batch]:
    generator = torch.Generator().manual_seed(5)
    rows = torch.randint(0, 256, (6, 24), generator=generator).tolist()
    return [pad(rows[i : i + 2], skip=1, first_sample=i) for i in (0, 2, 4)] * (1 + doubled)


def collect(model: PreTrainedModel, sites: list[str], found: list[Batch]) -> Statistics:
    return collect_statistics(model, found, sites=sites, absolute=[0.5], relative=[0.1])


def silence(model: PreTrainedModel, index: int) -> PreTrainedModel:
    """Return a copy in which one layer adds nothing: both its output projections are zero."""
    silent = copy.deepcopy(model)
    block: Any = blocks(silent)[index]
    if silent.config.model_type == "gpt2":
        projections = [block.attn.c_proj, block.mlp.c_proj]
    else:
        projections = [block.self_attn.o_proj, block.mlp.down_proj]
    with torch.no_grad():
        for parameter in (parameter for projection in projections for parameter in projection.parameters()):
            parameter.zero_()
    return silent


def test_avss_of_three_known_layers() -> None:
    statistics = updates(
        layer(log_contribution=math.log(0.5), below_output=100),
        layer(log_contribution=math.log(0.2), below_output=400),
        layer(log_contribution=math.log(0.8), below_output=50),
    )
    found = avss(statistics, THRESHOLDS)
    assert found.tolist() == pytest.approx([0.5 / 0.1, 0.2 / 0.4, 0.8 / 0.05])
    assert normalise(found).tolist() == pytest.approx([5 / 21.5, 0.5 / 21.5, 16 / 21.5])
    assert cumulate(found).tolist() == pytest.approx([5.5 / 21.5, 0.5 / 21.5, 1])
    assert rank(found) == [1, 0, 2]


def test_avss_input_of_three_known_layers() -> None:
    statistics = updates(
        layer(relative_variance=0.5, below_relative=100),
        layer(relative_variance=0.2, below_relative=400),
        layer(relative_variance=0.8, below_relative=50),
    )
    assert avss_input(statistics, THRESHOLDS).tolist() == pytest.approx([5, 0.5, 16])


def test_avss_output_of_three_known_layers() -> None:
    known = (layer(variance=4, below=200), layer(variance=1, below=500), layer(variance=9, below=100))
    assert avss_output([{"output": each} for each in known], THRESHOLDS).tolist() == pytest.approx(
        [20, 2, 90]
    )


@pytest.mark.parametrize("site", ["output", "update"])
def test_block_influence_is_read_from_whichever_site_there_is(site: str) -> None:
    statistics = [{site: layer(block_influence=value)} for value in (0.3, 0.0, 2.0)]
    assert block_influence(statistics, THRESHOLDS).tolist() == [0.3, 0.0, 2.0]


def test_a_count_of_zero_is_half_a_value() -> None:
    figures = {"relative_variance": 3, "log_contribution": math.log(3)}
    none, one = layer(variance=3, **figures), layer(3, 1, 1, 1, **figures)
    for score in (avss, avss_input):
        assert score(updates(none, one), THRESHOLDS).tolist() == pytest.approx([3 / 0.0005, 3 / 0.001])
    statistics = [{"output": none}, {"output": one}]
    assert avss_output(statistics, THRESHOLDS).tolist() == pytest.approx([6000, 3000])


def test_a_layer_that_adds_nothing_has_the_least_score(tiny_model: PreTrainedModel) -> None:
    silent = collect(silence(tiny_model, 2), ["update"], batches())
    assert avss(silent, THRESHOLDS)[2].item() == pytest.approx(LEAST_CONTRIBUTION)
    assert avss_input(silent, THRESHOLDS)[2].item() == 0


def test_random_is_seeded_and_each_draw_is_another() -> None:
    statistics: Statistics = [{}] * 12
    draws = [random(statistics, THRESHOLDS, seed).tolist() for seed in range(5)]
    assert draws == [random(statistics, THRESHOLDS, seed).tolist() for seed in range(5)]
    assert len({tuple(draw) for draw in draws}) == 5
    state = torch.get_rng_state()
    random(statistics, THRESHOLDS, 3)
    assert torch.equal(torch.get_rng_state(), state), "the global generator must stay as it was"


@pytest.mark.parametrize("name", SCORES)
def test_every_score_has_one_finite_value_a_layer_from_the_site_it_names(
    tiny_model: PreTrainedModel, name: str
) -> None:
    score = find_score(name)
    statistics = collect(tiny_model, [score.site], batches()) if score.site else [{} for _ in range(6)]
    found = score.function(statistics, THRESHOLDS, 0)
    assert found.shape == (6,)
    assert found.dtype == torch.float64
    assert found.isfinite().all()
    assert (found >= 0).all()
    assert len(found.unique()) == 6
    assert score.prune_first == "lowest"
    assert score.reference


@pytest.mark.parametrize("name", SCORES)
def test_doubling_the_data_leaves_scores_as_they_are(tiny_model: PreTrainedModel, name: str) -> None:
    once, twice = (collect(tiny_model, ["output", "update"], batches(doubled)) for doubled in (False, True))
    function = SCORES[name].function
    assert function(twice, THRESHOLDS, 0).tolist() == pytest.approx(
        function(once, THRESHOLDS, 0).tolist(), rel=1e-9
    )


def test_block_influence_equals_its_formula_on_the_model_s_own_hidden_states(
    tiny_llama: PreTrainedModel,
) -> None:
    bare: Any = copy.deepcopy(tiny_llama)
    bare.model.norm = torch.nn.Identity()  # the last hidden state is after the final norm
    found = batches()
    with torch.no_grad():
        states = bare(torch.cat([batch.ids for batch in found]), output_hidden_states=True).hidden_states
    hidden = np.stack([state[:, 1:].double().numpy() for state in states])
    norms = np.linalg.norm(hidden, axis=-1)
    cosine = np.einsum("lbsh,lbsh->lbs", hidden[:-1], hidden[1:]) / (norms[:-1] * norms[1:])
    expected = (1 - cosine).mean(axis=(1, 2))
    assert len(expected) == 6
    statistics = collect(tiny_llama, ["output"], found)
    assert block_influence(statistics, THRESHOLDS).tolist() == pytest.approx(expected.tolist(), rel=1e-5)


@pytest.mark.parametrize("name", ["avss", "block_influence"])
@pytest.mark.parametrize("index", [0, 2, 5])
def test_a_planted_identity_layer_is_the_one_chosen_and_its_removal_changes_no_bit(
    tiny_model: PreTrainedModel, name: str, index: int
) -> None:
    silent = silence(tiny_model, index)
    statistics = collect(silent, ["output", "update"], batches())
    scores = SCORES[name].function(statistics, THRESHOLDS, 0)
    assert rank(scores)[0] == index
    assert float(scores[index]) <= 1.01 * LEAST_CONTRIBUTION
    assert choose_layers(scores, 1 / 6) == [index]
    ids = torch.arange(40).reshape(2, 20)
    with torch.inference_mode():
        assert torch.equal(prune(silent, [index])(ids).logits, silent(ids).logits)


@given(SCORE_LISTS)
def test_normalised_scores_sum_to_one_in_the_same_order(values: list[float]) -> None:
    scores = torch.tensor(values, dtype=torch.float64)
    shares = normalise(scores)
    assert float(shares.sum()) == pytest.approx(1)
    assert (shares >= 0).all()
    order = torch.tensor(rank(scores))
    assert (shares[order].diff() >= 0).all()


@given(SCORE_LISTS)
def test_cumulated_scores_rise_in_rank_order_and_end_at_one(values: list[float]) -> None:
    scores = torch.tensor(values, dtype=torch.float64)
    running = cumulate(scores)[torch.tensor(rank(scores))]
    assert (running.diff() >= 0).all()
    assert float(running[-1]) == pytest.approx(1)
    assert float(running[0]) == pytest.approx(float(normalise(scores).min()))


def test_scores_that_are_all_zero_share_equally() -> None:
    zeros = torch.zeros(4, dtype=torch.float64)
    assert normalise(zeros).tolist() == [0.25] * 4
    assert cumulate(zeros).tolist() == [0.25, 0.5, 0.75, 1]


def test_equal_scores_stay_in_depth_order() -> None:
    assert rank(torch.tensor([1.0, 0.0, 1.0, 0.0, 1.0])) == [1, 3, 0, 2, 4]
    assert rank(torch.tensor([])) == []


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_a_score_that_is_not_finite_names_its_layer(bad: float) -> None:
    with pytest.raises(ValueError, match=f"layer 1 has the score {bad}"):
        rank(torch.tensor([0.5, bad, 0.1]))


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("block_influense", "unknown score 'block_influense': did you mean block_influence"),
        ("AVSS", "unknown score 'AVSS': known scores: avss, avss_input, avss_output"),
        ("", "unknown score '': known scores: avss"),
    ],
)
def test_an_unknown_score_is_named_with_near_ones(name: str, message: str) -> None:
    with pytest.raises(LookupError, match=message):
        find_score(name)


def test_small_threshold_counts_are_shot_noise() -> None:
    low, enough = SHOT_NOISE_COUNT - 1, SHOT_NOISE_COUNT
    statistics = [
        {"update": layer(below_relative=relative, below_output=relative), "output": layer(below=absolute)}
        for relative, absolute in ((0, enough), (low, 0), (enough, low))
    ]
    assert shot_noise(statistics, THRESHOLDS, "avss") == [0, 1]
    assert shot_noise(statistics, THRESHOLDS, "avss_output") == [1, 2]
    assert shot_noise(statistics, THRESHOLDS, "block_influence") == []
    assert shot_noise([{}, {}], THRESHOLDS, "random") == []


def test_rank_agreement_of_known_orders() -> None:
    def scores(*values: float) -> Tensor:
        return torch.tensor(values, dtype=torch.float64)

    found = rank_agreement(
        {"up": scores(1, 2, 3, 4), "swapped": scores(1, 2, 4, 3), "flat": scores(1, 1, 1, 1)}
    )
    # One of six pairs is swapped: (5 - 1) / 6.
    assert found["up"] == {
        "up": pytest.approx(1),
        "swapped": pytest.approx(4 / 6),
        "flat": None,
        "depth": pytest.approx(1),
    }
    assert found["swapped"]["up"] == pytest.approx(4 / 6)
    assert found["depth"]["flat"] is None
    assert rank_agreement({"down": scores(4, 3, 2, 1)})["down"]["depth"] == pytest.approx(-1)
    assert rank_agreement({}) == {}
