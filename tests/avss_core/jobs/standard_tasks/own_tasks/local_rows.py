"""The rows of the tasks beside it, without a network."""

from pathlib import Path

from datasets import Dataset, DatasetDict

FOLDER = Path(__file__).parent


def choice(**_settings):
    return _test(FOLDER / "choice.jsonl")


def text(**_settings):
    return _test(FOLDER / "text.jsonl")


def _test(path):
    import json

    rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    return DatasetDict({"test": Dataset.from_list(rows)})
