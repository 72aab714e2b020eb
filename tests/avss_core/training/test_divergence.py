import copy

import pytest
import torch
from torch.nn.functional import kl_div

from avss_core.training.divergence import text_divergence

IDS = [(7 * i + i * i) % 250 for i in range(60)]


@pytest.mark.parametrize("family", ["llama", "gpt2"])
def test_the_divergence_is_that_of_torch_over_whole_logits(tiny, family, monkeypatch) -> None:
    base, other = tiny(family), tiny(family)
    with torch.no_grad():
        for parameter in other.parameters():
            parameter *= 1.02
    monkeypatch.setattr("avss_core.training.divergence.SLICE_TOKENS", 7)
    found = text_divergence(base, other, IDS, window=16, batch_size=2)
    expected = []
    for start in range(0, len(IDS) - 1, 16):
        ids = torch.tensor([IDS[start : start + 16]])[:, : len(IDS) - 1 - start]
        with torch.no_grad():
            old, new = (model(ids).logits[0].double().log_softmax(-1) for model in (base, other))
        expected.append(float(kl_div(new, old, log_target=True, reduction="batchmean")))
    assert found == pytest.approx(expected, rel=1e-4)
    assert all(value > 0 for value in found)
    assert found == pytest.approx(text_divergence(base, other, IDS, window=16, batch_size=5), rel=1e-4)


def test_a_model_has_not_moved_from_itself(tiny) -> None:
    model = tiny("llama")
    assert text_divergence(model, model, IDS, window=16) == pytest.approx([0.0] * 4, abs=1e-6)


def test_other_words_and_broken_weights_are_refused(tiny) -> None:
    base = tiny("llama")
    with pytest.raises(ValueError, match="models over 260 and 300 words"):
        text_divergence(base, tiny("llama", vocab_size=300), IDS, window=16)
    broken = copy.deepcopy(base)
    with torch.no_grad():
        broken.get_input_embeddings().weight[5] = torch.nan
    with pytest.raises(ValueError, match="hold NaN or infinity"):
        text_divergence(base, broken, [5] * 20, window=16)
