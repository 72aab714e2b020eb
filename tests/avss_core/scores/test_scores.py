import copy
import json
import math
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from transformers import PreTrainedModel

from avss_core.models.architectures import blocks
from avss_core.models.batches import Batch, pad
from avss_core.scores.choice import choose_layers
from avss_core.scores.evidence import Evidence, measured_residuals
from avss_core.scores.ranking import authors_choice, cumulate, normalise, rank
from avss_core.scores.removal_scores import greedy, repairability, traversal
from avss_core.scores.scores import (
    SCORES,
    SHOT_NOISE_COUNT,
    angular,
    avss,
    avss_authors,
    avss_input,
    avss_output,
    block_influence,
    find_score,
    last_n,
    random,
    relative_magnitude,
    relative_variance,
    shot_noise,
)
from avss_core.statistics.collection import collect_statistics
from avss_core.statistics.moments import Moments
from avss_core.statistics.statistics import (
    BLOCK_FIGURES,
    LEAST_RELATIVE_VARIANCE,
    TOKEN_FIGURES,
    LayerStatistics,
    SiteStatistics,
    Statistics,
    Thresholds,
)
from avss_core.surgery.pruning import prune

THRESHOLDS = Thresholds(absolute=0.5, relative=0.1)
BLOCK_SCORES = {
    "block_influence": block_influence,
    "angular": angular,
    "relative_magnitude": relative_magnitude,
}
MEASURED = [name for name, score in SCORES.items() if score.needs == "statistics"]
SITES = ("output", "update")


def means(names: tuple[str, ...], known: dict[str, float]) -> Moments:
    mean = torch.tensor([known.get(name, 0) for name in names], dtype=torch.float64)
    return Moments(10, mean, torch.zeros_like(mean))


def site(
    variance: float = 1, absolute: int = 0, below_input: int = 0, below_output: int = 0, **figures: float
) -> SiteStatistics:
    """The statistics of a thousand values of ten tokens."""
    values = Moments(1000, torch.zeros(1).double(), torch.tensor([1000 * variance]).double())
    tokens = means(TOKEN_FIGURES, figures)
    return SiteStatistics(values, tokens, absolute, below_input, below_output)


def known(name: str, *found: SiteStatistics) -> Evidence:
    """Evidence of layers with one site."""
    layers = [LayerStatistics(means(BLOCK_FIGURES, {}), {name: each}) for each in found]
    return evidence(layers)


def evidence(statistics: Statistics, **changes: Any) -> Evidence:
    return Evidence(len(statistics), statistics=statistics, **changes)


def batches(doubled: bool = False) -> list[Batch]:
    generator = torch.Generator().manual_seed(5)
    rows = torch.randint(0, 256, (6, 24), generator=generator).tolist()
    return [pad(rows[i : i + 2], skip=1, first_sample=i) for i in (0, 2, 4)] * (1 + doubled)


def collect(model: PreTrainedModel, found: list[Batch], sites: tuple[str, ...] = SITES) -> Evidence:
    return evidence(collect_statistics(model, found, sites=sites, thresholds=Thresholds(0.5, 0.1)))


def projections(model: PreTrainedModel, index: int) -> list[Any]:
    """Return the two maps of a layer that write into the residual stream."""
    block: Any = blocks(model)[index]
    if model.config.model_type == "gpt2":
        return [block.attn.c_proj, block.mlp.c_proj]
    return [block.self_attn.o_proj, block.mlp.down_proj]


def silence(model: PreTrainedModel, index: int) -> PreTrainedModel:
    """Return a copy in which one layer adds nothing: both its output projections are zero."""
    silent = copy.deepcopy(model)
    with torch.no_grad():
        for parameter in (p for projection in projections(silent, index) for p in projection.parameters()):
            parameter.zero_()
    return silent


def with_silent_units(model: PreTrainedModel) -> PreTrainedModel:
    """Return a copy in which some units of every layer's output are exactly zero, fewer in each."""
    silent: Any = copy.deepcopy(model)
    with torch.no_grad():
        for embedding in silent.modules():
            if isinstance(embedding, nn.Embedding):
                embedding.weight[:, :6] = 0
        for index in range(6):
            for projection in projections(silent, index):
                weight = projection.weight if model.config.model_type == "gpt2" else projection.weight.T
                weight[:, : 6 - index] = 0
                if projection.bias is not None:
                    projection.bias[: 6 - index] = 0
    return silent


def test_avss_and_its_variance_alone_of_three_known_layers() -> None:
    evidence = known(
        "update",
        site(log_relative_variance=math.log(0.5), below_output=100),
        site(log_relative_variance=math.log(0.2), below_output=400),
        site(log_relative_variance=math.log(0.8), below_output=50),
    )
    assert relative_variance(evidence).tolist() == pytest.approx([0.5, 0.2, 0.8])
    found = avss(evidence)
    assert found.tolist() == pytest.approx([0.5 / 0.1, 0.2 / 0.4, 0.8 / 0.05])
    assert normalise(found).tolist() == pytest.approx([5 / 21.5, 0.5 / 21.5, 16 / 21.5])
    assert cumulate(found).tolist() == pytest.approx([5.5 / 21.5, 0.5 / 21.5, 1])
    assert rank(found) == [1, 0, 2]


def test_avss_input_of_three_known_layers() -> None:
    layers = (
        site(variance_over_input=0.5, below_input=100),
        site(variance_over_input=0.2, below_input=400),
        site(variance_over_input=0.8, below_input=50),
    )
    assert avss_input(known("update", *layers)).tolist() == pytest.approx([5, 0.5, 16])


def test_avss_output_of_three_known_layers() -> None:
    layers = (site(variance=4, absolute=200), site(variance=1, absolute=500), site(variance=9, absolute=100))
    assert avss_output(known("output", *layers)).tolist() == pytest.approx([20, 2, 90])


def test_avss_authors_of_two_known_layers() -> None:
    layers = [
        LayerStatistics(means(BLOCK_FIGURES, {}), {"output": site()}, published)
        for published in (((3.0, 0.5), (5.0, 0.25)), ((1.0, 0.0), (1.0, 0.0)))
    ]
    # Variances and shares are averaged apart; where no value is small, half of the thousand counts.
    assert avss_authors(evidence(layers)).tolist() == pytest.approx([4 / 0.375, 1 / 0.0005])


@pytest.mark.parametrize("figure", BLOCK_FIGURES)
def test_block_scores_are_means_of_their_figures(figure: str) -> None:
    layers = [LayerStatistics(means(BLOCK_FIGURES, {figure: value}), {}) for value in (0.3, 0.0, 0.7)]
    assert BLOCK_SCORES[figure](evidence(layers)).tolist() == [0.3, 0.0, 0.7]


def test_last_n_removes_from_the_end() -> None:
    assert rank(last_n(Evidence(4))) == [3, 2, 1, 0]


def test_traversal_is_the_loss_without_each_layer() -> None:
    found = traversal(Evidence(3, losses={1: 3.5, 0: 9.0, 2: 3.25}))
    assert found.tolist() == [9.0, 3.5, 3.25]
    with pytest.raises(ValueError, match=r"loss without layers \[1\]"):
        traversal(Evidence(3, losses={0: 9.0, 2: 3.25}))
    with pytest.raises(ValueError, match=r"loss without layers \[0, 1, 2\]"):
        traversal(Evidence(3))


def test_greedy_is_the_step_of_removal() -> None:
    found = greedy(Evidence(5, order=[3, 0]))
    assert found.tolist() == [2, 3, 3, 1, 3]
    assert choose_layers(found, 0.4) == [0, 3]
    with pytest.raises(ValueError, match="order in which layers were removed"):
        greedy(Evidence(5))


def test_repairability_is_what_a_repair_leaves_open_over_the_output() -> None:
    sums = {0: (3.0, 4.0), 1: (0.0, 5.0), 2: (0.0, 0.0)}
    assert repairability(Evidence(3, residuals=sums)).tolist() == [0.75, 0.0, 0.0]
    # Of several windows both sums are added, and a loud window counts more: (1 + 2) / (2 + 10).
    parts = measured_residuals(Evidence(1), {0: [1.0, 2.0]}, {0: [2.0, 10.0]})
    assert [repairability(part).tolist() for part in parts.parts] == [[0.5], [0.2]]
    assert repairability(parts.whole).tolist() == [0.25]
    with pytest.raises(ValueError, match=r"a repair leaves open without layers \[1\]"):
        repairability(Evidence(2, residuals={0: (1.0, 1.0)}))


def test_a_count_of_zero_is_half_a_value() -> None:
    figures = {"variance_over_input": 3, "log_relative_variance": math.log(3)}
    none, one = site(variance=3, **figures), site(3, 1, 1, 1, **figures)
    for score in (avss, avss_input):
        assert score(known("update", none, one)).tolist() == pytest.approx([3 / 0.0005, 3 / 0.001])
    assert avss_output(known("output", none, one)).tolist() == pytest.approx([6000, 3000])


def test_a_layer_that_adds_nothing_has_the_least_score(tiny_model: PreTrainedModel) -> None:
    silent = collect(silence(tiny_model, 2), batches())
    assert avss(silent)[2].item() == pytest.approx(LEAST_RELATIVE_VARIANCE)
    assert avss_input(silent)[2].item() == 0


def test_random_is_seeded_and_each_draw_is_another() -> None:
    draws = [random(Evidence(12, seed)).tolist() for seed in range(5)]
    assert draws == [random(Evidence(12, seed)).tolist() for seed in range(5)]
    assert len({tuple(draw) for draw in draws}) == 5
    state = torch.get_rng_state()
    random(Evidence(12, 3))
    assert torch.equal(torch.get_rng_state(), state), "the global generator must stay as it was"


def everything(model: PreTrainedModel, name: str) -> Evidence:
    """What a score says that it needs, and nothing else."""
    score = find_score(name)
    if score.needs == "statistics":
        return collect(model, batches(), (score.site or "update",))
    losses = {layer: 3.0 + (7 * layer) % 5 + layer / 10 for layer in range(6)}
    return {
        "nothing": Evidence(6),
        "losses": Evidence(6, losses=losses),
        "order": Evidence(6, order=[4, 2, 0, 5, 1]),
        "repaired_order": Evidence(6, order=[4, 2, 0, 5, 1]),
        "residuals": Evidence(6, residuals={layer: (loss, 10.0) for layer, loss in losses.items()}),
    }[score.needs]


@pytest.mark.parametrize("name", SCORES)
def test_every_score_has_one_finite_value_a_layer_from_what_it_says_that_it_needs(
    tiny_model: PreTrainedModel, name: str
) -> None:
    score = find_score(name)
    found = score.function(everything(tiny_model, name))
    assert found.shape == (6,)
    assert found.dtype == torch.float64
    assert found.isfinite().all()
    assert (found >= 0).all()
    assert len(found.unique()) == 6
    assert score.prune_first == "lowest"
    assert score.running in ("rank", "depth")
    assert score.reference


@pytest.mark.parametrize("name", [name for name in MEASURED if SCORES[name].site])
def test_a_site_that_was_not_collected_is_named(tiny_llama: PreTrainedModel, name: str) -> None:
    wanted = SCORES[name].site
    other = ("update",) if wanted == "output" else ("output",)
    with pytest.raises(ValueError, match=f"site '{wanted}' was not collected"):
        SCORES[name].function(collect(tiny_llama, batches()[:1], other))


@pytest.mark.parametrize("name", MEASURED)
def test_a_score_of_activations_without_statistics_says_so(name: str) -> None:
    with pytest.raises(ValueError, match="needs activation statistics"):
        SCORES[name].function(Evidence(6))


@pytest.mark.parametrize("name", MEASURED)
def test_doubling_the_data_leaves_scores_as_they_are(tiny_model: PreTrainedModel, name: str) -> None:
    model = with_silent_units(tiny_model)  # a count of zero is half a value of however many there are
    once, twice = (collect(model, batches(doubled)) for doubled in (False, True))
    function = SCORES[name].function
    assert function(twice).tolist() == pytest.approx(function(once).tolist(), rel=1e-9)


def reference_hidden_states(model: PreTrainedModel, found: list[Batch]) -> np.ndarray[Any, Any]:
    """Return the library's own hidden states, [layers + 1, batch, seq, hidden]."""
    bare: Any = copy.deepcopy(model)
    bare.model.norm = nn.Identity()  # the last hidden state is after the final norm
    with torch.no_grad():
        states = bare(torch.cat([batch.ids for batch in found]), output_hidden_states=True).hidden_states
    return np.stack([state.double().numpy() for state in states])


def test_block_scores_equal_their_formulas_on_the_model_s_own_hidden_states(
    tiny_llama: PreTrainedModel,
) -> None:
    found = batches()
    hidden = reference_hidden_states(tiny_llama, found)[:, :, 1:]
    norms = np.linalg.norm(hidden, axis=-1)
    cosine = np.einsum("lbsh,lbsh->lbs", hidden[:-1], hidden[1:]) / (norms[:-1] * norms[1:])
    update = np.linalg.norm(hidden[1:] - hidden[:-1], axis=-1)
    expected = {
        "block_influence": (1 - cosine).mean(axis=(1, 2)),
        "angular": (np.arccos(cosine) / np.pi).mean(axis=(1, 2)),
        "relative_magnitude": (update / norms[1:]).mean(axis=(1, 2)),
    }
    statistics = collect(tiny_llama, found)
    for name, values in expected.items():
        assert len(values) == 6
        assert BLOCK_SCORES[name](statistics).tolist() == pytest.approx(values.tolist(), rel=1e-5)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_avss_authors_is_the_script_to_the_bit(tiny_model: PreTrainedModel, dtype: torch.dtype) -> None:
    """The oracle takes the script's steps with hooks and tables of its own."""
    model = with_silent_units(tiny_model).to(dtype)
    generator = torch.Generator().manual_seed(8)
    texts = [torch.randint(0, 256, (n,), generator=generator).tolist() for n in (24, 9, 17, 24, 3, 24, 11)]
    found = [pad(texts[i : i + 3]) for i in (0, 3, 6)]
    captured: dict[int, list[torch.Tensor]] = {index: [] for index in range(6)}
    handles = [
        block.register_forward_hook(
            lambda _m, _i, result, index=index: captured[index].append(
                result[0].detach() if isinstance(result, tuple) else result.detach()
            )
        )
        for index, block in enumerate(blocks(model))
    ]
    with torch.no_grad():
        for batch in found:
            model(**batch.inputs(torch.device("cpu")))
    for handle in handles:
        handle.remove()
    table = pd.DataFrame(
        {
            "variance": [np.mean([a.mean(1).var(1).mean().item() for a in captured[i]]) for i in range(6)],
            "sparsity": [
                np.mean([(a.abs() < 1e-5).float().mean().item() for a in captured[i]]) for i in range(6)
            ],
        }
    )
    assert (table["sparsity"] > 0).all()
    table["avss"] = table["variance"] / table["sparsity"]
    table["share"] = table["avss"] / table["avss"].sum()
    table["running"] = table["share"].cumsum()
    scores = avss_authors(collect(model, found))
    assert scores.tolist() == table["avss"].tolist()
    assert cumulate(scores, "depth").tolist() == pytest.approx(table["running"].tolist(), rel=1e-15)
    assert authors_choice(scores, 0.25) == table.index[table["running"] <= 0.25].tolist()


@pytest.mark.parametrize("name", ["avss", "avss_input", *BLOCK_SCORES])
@pytest.mark.parametrize("index", [0, 2, 5])
def test_a_planted_identity_layer_is_the_one_chosen_and_its_removal_changes_no_bit(
    tiny_model: PreTrainedModel, name: str, index: int
) -> None:
    silent = silence(tiny_model, index)
    scores = SCORES[name].function(collect(silent, batches()))
    assert rank(scores)[0] == index
    assert float(scores[index]) <= 1.1 * LEAST_RELATIVE_VARIANCE
    assert choose_layers(scores, 1 / 6) == [index]
    ids = torch.arange(40).reshape(2, 20)
    with torch.inference_mode():
        assert torch.equal(prune(silent, [index])(ids).logits, silent(ids).logits)


class Mix(nn.Module):
    """A residual layer that is linear, so that scaling the stream scales all that it reads and adds."""

    def __init__(self, seed: int, size: float) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(seed)
        self.weight = nn.Parameter(size * torch.randn(8, 8, generator=generator, dtype=torch.float64))

    def forward(self, hidden_states: torch.Tensor) -> torch.Tensor:
        return hidden_states + hidden_states @ self.weight


class Linear(nn.Module):
    """Four linear layers in the place where a Llama keeps its blocks."""

    def __init__(self, factor: float) -> None:
        super().__init__()
        from transformers import LlamaConfig

        self.config = LlamaConfig(num_hidden_layers=4)
        self.model = nn.Module()
        self.model.layers = nn.ModuleList(Mix(i, size) for i, size in enumerate((0.3, 0.05, 0.2, 0.1)))
        generator = torch.Generator().manual_seed(9)
        self.table = nn.Parameter(factor * torch.randn(256, 8, generator=generator, dtype=torch.float64))

    def forward(self, input_ids: torch.Tensor, **_: Any) -> torch.Tensor:
        hidden = self.table[input_ids]
        for layer in self.model.layers:
            hidden = layer(hidden)
        return hidden


@given(st.floats(1e-3, 1e3))
@settings(max_examples=8)
def test_scaling_the_activations_leaves_the_scale_free_scores_as_they_are(factor: float) -> None:
    plain, scaled = (collect(Linear(by), batches()) for by in (1.0, factor))
    for name in ("avss", "avss_input", *BLOCK_SCORES):
        before, after = (SCORES[name].function(found) for found in (plain, scaled))
        assert after.tolist() == pytest.approx(before.tolist(), rel=1e-6)
        assert rank(after) == rank(before)
    before, after = (avss_output(found) for found in (plain, scaled))
    if not 0.5 < factor < 2:
        assert after.tolist() != pytest.approx(before.tolist(), rel=1e-3), (
            "the paper's text is not scale-free"
        )


def test_the_order_of_the_batches_does_not_count(tiny_model: PreTrainedModel) -> None:
    forth, back = collect(tiny_model, batches()), collect(tiny_model, batches()[::-1])
    for name in MEASURED:
        found = [SCORES[name].function(each) for each in (forth, back)]
        assert found[0].tolist() == pytest.approx(found[1].tolist(), rel=1e-9)


def test_scores_of_restored_statistics_are_the_same(tiny_llama: PreTrainedModel) -> None:
    found = collect(tiny_llama, batches())
    text = json.dumps([layer.record() for layer in found.collected()])
    back = evidence([LayerStatistics.from_record(record) for record in json.loads(text)])
    for name in MEASURED:
        assert SCORES[name].function(back).tolist() == SCORES[name].function(found).tolist()


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
    layers = [
        LayerStatistics(
            means(BLOCK_FIGURES, {}),
            {"update": site(below_input=small, below_output=small), "output": site(absolute=absolute)},
        )
        for small, absolute in ((0, enough), (low, 0), (enough, low))
    ]
    found = evidence(layers)
    assert shot_noise("avss", found) == [0, 1]
    assert shot_noise("avss_output", found) == [1, 2]
    assert shot_noise("block_influence", found) == []
    assert shot_noise("random", Evidence(3)) == []
