"""What is refused before a checkpoint is asked anything."""

from pathlib import Path

import pytest

from avss_core.jobs.evaluation.checkpoint_evaluation import evaluation_jobs
from avss_core.judges import similarity
from avss_core.settings.reading import load_params

PARAMS = Path(__file__).resolve().parents[4] / "params.yaml"


def test_a_judge_without_its_packages_is_refused_before_any_question_is_asked(monkeypatch, tmp_path):
    monkeypatch.setattr(similarity, "PACKAGES", ("no_such_encoder",))
    with pytest.raises(ModuleNotFoundError, match="pip install --no-deps no_such_encoder"):
        evaluation_jobs(load_params(PARAMS), tmp_path, tmp_path)
    with pytest.raises(FileNotFoundError, match="jsonl"):  # another judge gets as far as the questions
        evaluation_jobs(load_params(PARAMS, ["evaluate.judge=f1"]), tmp_path, tmp_path)
