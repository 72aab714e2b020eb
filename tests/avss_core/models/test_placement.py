"""A model that accelerate has spread over memory and disk gives the numbers of the plain one, everywhere."""

import pytest
import torch

FAMILIES = ("llama", "gpt2")
IDS = torch.randint(0, 256, (90,), generator=torch.Generator().manual_seed(4)).tolist()


@pytest.fixture(scope="module", params=FAMILIES)
def models(request, tiny, tokenizer, tmp_path_factory):
    """One checkpoint, loaded whole, and with on disk what does not fit the memory that is allowed."""
    from avss_core.models.loading import load_model

    folder = tmp_path_factory.mktemp(request.param)
    tiny(request.param, layers=5).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    size = sum(path.stat().st_size for path in folder.glob("*.safetensors"))
    spread = load_model(str(folder), device="spread", memory={"cpu": int(size * 0.7)})
    return load_model(str(folder)), spread


def test_some_layers_are_on_disk_and_some_in_memory(models):
    from avss_core.models.placement import input_device, is_spread

    plain, spread = models
    assert set(spread.hf_device_map.values()) == {"cpu", "disk"}
    assert {parameter.device.type for parameter in spread.parameters()} == {"cpu", "meta"}
    assert is_spread(spread)
    assert not is_spread(plain)
    assert input_device(plain) == input_device(spread) == torch.device("cpu")


def test_statistics_are_those_of_the_plain_model(models):
    from avss_core.models.activations import SITES
    from avss_core.models.batches import windows
    from avss_core.statistics.collection import collect_statistics
    from avss_core.statistics.statistics import Thresholds

    found = [
        [
            layer.record()
            for layer in collect_statistics(
                model, list(windows(IDS, 32, 2)), sites=SITES, thresholds=Thresholds(1e-2, 0.1)
            )
        ]
        for model in models
    ]
    assert found[0] == found[1]


def test_views_leave_layers_out_and_not_those_of_the_model_that_was_hooked(models):
    from avss_core.evaluation.perplexity import language_modelling
    from avss_core.models.views import without_layers
    from avss_core.scores.traversal import traverse

    plain, spread = models
    losses = [language_modelling(without_layers(model, [1, 3]), IDS, "", window=32) for model in models]
    assert losses[0] == losses[1]
    assert losses[0].nll_per_token != language_modelling(plain, IDS, "", window=32).nll_per_token
    assert language_modelling(plain, IDS, "", window=32) == language_modelling(spread, IDS, "", window=32)
    found = [traverse(model, IDS, window=16, context=8) for model in models]
    assert found[0] == found[1]


def test_answers_and_those_of_every_layer_are_those_of_the_plain_model(models, tokenizer):
    from avss_core.evaluation.generation import answer_questions
    from avss_core.evaluation.readout import answers_by_layer

    prompts = ["What is red? A", "Who was it? The", "Where?"]
    given = [[" rose", " tea"], [" man"], [" here"]]
    answers = [answer_questions(model, tokenizer, prompts, given=given, max_new_tokens=5) for model in models]
    assert answers[0] == answers[1]
    layers = [answers_by_layer(model, tokenizer, prompts, max_new_tokens=3) for model in models]
    assert layers[0] == layers[1]


def test_what_trains_refuses_it_and_says_what_to_set(models):
    from avss_core.models.placement import refuse_spread

    plain, spread = models
    refuse_spread(plain, "healing")
    with pytest.raises(ValueError, match=r"healing needs .* spread them over cpu, disk; set model\.device"):
        refuse_spread(spread, "healing")


def test_a_model_that_fits_lies_on_one_device(checkpoint):
    from avss_core.models.loading import load_model
    from avss_core.models.placement import chosen_device, is_spread, main_device

    assert not is_spread(load_model(str(checkpoint), device="spread"))
    best = torch.accelerator.current_accelerator(check_available=True)
    assert chosen_device(None) == ("cpu" if best is None else best.type)
    assert load_model(str(checkpoint), device=None).device.type == chosen_device(None)
    assert chosen_device("cuda:1") == "cuda:1"
    assert main_device("cpu") == torch.device("cpu")
    assert main_device("spread").type in {"cpu", "cuda"}
