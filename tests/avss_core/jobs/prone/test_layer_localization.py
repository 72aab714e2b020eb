"""The stage and the library read the same layers out of the same answers."""

import json
from pathlib import Path
from typing import Any

import torch

from avss_core.hallucination.prone_layers import find_prone_layers
from avss_core.hallucination.samples import observe_answers, sample_pair, save_samples
from avss_core.jobs.prone.layer_localization import localize_layers

ROWS: list[dict[str, Any]] = [
    {"question": f"What is {word}?", "answers": [word * 2], "wrong_answers": [word + " or not"]}
    for word in ("one", "two", "red", "up")
]


def test_the_stage_says_of_a_model_what_the_library_says(
    tiny_model: Any, tokenizer: Any, tmp_path: Path
) -> None:
    pairs = [
        sample_pair(
            row["question"], row["answers"][0], row["wrong_answers"][0], id=str(i), set="nq", split="train"
        )
        for i, row in enumerate(ROWS)
    ]
    samples = [sample for pair in pairs for sample in pair]
    seen = observe_answers(tiny_model, tokenizer, samples, site="update", relative=0.1)
    save_samples(seen, tmp_path / "update.safetensors")
    rows = [{**vars(sample)} for sample in samples]
    (tmp_path / "samples.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (tmp_path / "answers.json").write_text("{}")
    stage = localize_layers(tmp_path, "update", reading="eavss_paired", resamples=20, seed=3)
    library = find_prone_layers(tiny_model, tokenizer, ROWS, "eavss_paired", resamples=20, seed=3)
    band = stage["readings"]["eavss_paired"]
    for end in ("values", "low", "high"):
        torch.testing.assert_close(torch.tensor(band[end], dtype=torch.float64), getattr(library, end))
    assert stage["most_prone"] == library.order
    assert stage["probe_auroc"] == [None] * 6
