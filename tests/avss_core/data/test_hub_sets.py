import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from huggingface_hub.utils import httpx

from avss_core.data.hub_sets import (
    HUB_SETS,
    load_set,
    nq_rows,
    sciq_rows,
    sst2_rows,
    triviaqa_rows,
    truthfulqa_rows,
    wikiqa_rows,
    wikitext_rows,
)
from avss_core.evaluation.splits import stable_fraction

# The columns of the public sets, as their pinned revisions have them.
NQ = {"question": "who wrote hamlet", "answer": ["Shakespeare", "William Shakespeare"]}
SCIQ = {
    "question": "What gas do plants take in?",
    "distractor3": "argon",
    "distractor1": "oxygen",
    "distractor2": "Carbon Dioxide.",
    "correct_answer": "carbon dioxide",
    "support": "Plants take in carbon dioxide.",
}
TRIVIAQA = {
    "question": "Who painted Guernica?",
    "question_id": "tc_1",
    "question_source": "http://www.example.org/",
    "entity_pages": {"doc_source": [], "filename": [], "title": [], "wiki_context": []},
    "search_results": {
        "description": [],
        "filename": [],
        "rank": [],
        "title": [],
        "url": [],
        "search_context": [],
    },
    "answer": {
        "aliases": ["Pablo Picasso", "Picasso", ""],
        "normalized_aliases": ["pablo picasso", "picasso"],
        "matched_wiki_entity_name": "",
        "normalized_matched_wiki_entity_name": "",
        "normalized_value": "picasso",
        "type": "WikipediaEntity",
        "value": "Picasso",
    },
}
TRUTHFULQA = {
    "type": "Adversarial",
    "category": "Misconceptions",
    "question": "What happens if you swallow gum?",
    "best_answer": "It passes through you",
    "correct_answers": ["Nothing", "It passes through you"],
    "incorrect_answers": ["It stays for seven years", "You grow a tree", "You float", "You burst"],
    "source": "https://example.org/",
}


def sentence(question_id, answer, label, question="what is a glacier cave"):
    return {
        "question_id": question_id,
        "question": question,
        "document_title": "Glacier cave",
        "answer": answer,
        "label": label,
    }


WIKIQA = [
    sentence("Q1", "Caves are many .", 0),
    sentence("Q1", "It is a cave in the ice .", 1),
    sentence("Q2", "Nobody knows .", 0, "why is it cold"),
    *(sentence("Q1", f"Wrong {index} .", 0) for index in range(4)),
    sentence("Q1", "A cave in ice .", 1),
]
SST2 = [{"idx": 0, "sentence": "a joy ", "label": 1}, {"idx": 1, "sentence": "a bore ", "label": 0}]
WIKITEXT = [
    {"text": text} for text in ("", " = One = \n", "", " First . \n", "", " = Two = \n", "", " Second . \n")
]
WIKITEXT_ARTICLES = [" \n = One = \n \n First . \n", " \n = Two = \n \n Second . \n"]


def test_nq_rows():
    assert list(nq_rows([NQ])) == [
        {
            "question": "who wrote hamlet",
            "answers": ["Shakespeare", "William Shakespeare"],
            "wrong_answers": [],
        }
    ]


def test_sciq_rows_leave_out_a_distractor_that_is_the_answer():
    assert list(sciq_rows([SCIQ])) == [
        {
            "question": "What gas do plants take in?",
            "answers": ["carbon dioxide"],
            "wrong_answers": ["oxygen", "argon"],
        }
    ]


def test_triviaqa_rows_have_the_value_first_and_each_alias_once():
    assert list(triviaqa_rows([TRIVIAQA])) == [
        {"question": "Who painted Guernica?", "answers": ["Picasso", "Pablo Picasso"], "wrong_answers": []}
    ]


def test_truthfulqa_rows_have_the_best_answer_first():
    assert list(truthfulqa_rows([TRUTHFULQA])) == [
        {
            "question": "What happens if you swallow gum?",
            "answers": ["It passes through you", "Nothing"],
            "wrong_answers": ["It stays for seven years", "You grow a tree", "You float", "You burst"],
        }
    ]


def test_wikiqa_rows_are_grouped_and_have_an_answer_and_at_most_three_wrong_ones():
    assert list(wikiqa_rows(WIKIQA)) == [
        {
            "question": "what is a glacier cave",
            "answers": ["It is a cave in the ice .", "A cave in ice ."],
            "wrong_answers": ["Caves are many .", "Wrong 0 .", "Wrong 1 ."],
        }
    ]


def test_sst2_rows():
    assert list(sst2_rows(SST2)) == [{"text": "a joy", "label": 1}, {"text": "a bore", "label": 0}]


def test_wikitext_rows_get_their_blank_lines_back():
    assert [row["text"] for row in wikitext_rows(WIKITEXT[:3])] == [" \n", " = One = \n", " \n"]


@pytest.mark.parametrize("rows", [record.rows for record in HUB_SETS.values()])
def test_no_public_rows_give_no_rows(rows):
    assert list(rows([])) == []


@pytest.mark.parametrize("record", HUB_SETS.values(), ids=HUB_SETS)
def test_every_set_is_pinned_to_a_commit(record):
    assert len(record.revision) == 40
    assert int(record.revision, 16) > 0


def test_a_public_split_with_both_sides_is_shared_out_by_question(monkeypatch):
    rows = [TRUTHFULQA | {"question": f"question {index}?"} for index in range(400)]
    monkeypatch.setattr("datasets.load_dataset", lambda *_args, **_kwargs: rows)
    loaded = load_set("truthfulqa")
    asked = {side: {row["question"] for row in loaded[side]} for side in ("train", "test")}
    assert asked["train"] == {row["question"] for row in rows if stable_fraction(row["question"]) < 0.65}
    assert asked["train"] | asked["test"] == {row["question"] for row in rows}
    assert not asked["train"] & asked["test"]
    # Six standard deviations of a share of 0.65 among 400.
    assert len(asked["train"]) / 400 == pytest.approx(0.65, abs=6 * (0.2275 / 400) ** 0.5)
    assert [row["id"] for row in loaded["test"][:2]] == ["truthfulqa-test-00000", "truthfulqa-test-00001"]


# What datasets 5.2 raises offline, when the Hub answers 503, and when a transfer breaks.
@pytest.mark.parametrize("outage", [ConnectionError, FileNotFoundError, httpx.ReadError])
def test_an_outage_is_named_with_the_way_out(monkeypatch, outage):
    def fail(*_args, **_kwargs):
        raise outage("no route to host.\nsee the log")

    monkeypatch.setattr("datasets.load_dataset", fail)
    with pytest.raises(ConnectionError) as caught:
        load_set("sciq")
    assert str(caught.value) == (
        "the data set allenai/sciq cannot be read from the Hugging Face Hub (no route to host): connect this "
        "machine to it, or use data.source=path (a folder of yours) or data.source=sample"
    )


# Public rows by set and public split.
PUBLIC = {
    "nq": {"train": [NQ], "validation": [NQ, NQ]},
    "sciq": {"train": [SCIQ], "test": [SCIQ]},
    "triviaqa": {"train": [TRIVIAQA], "validation": [TRIVIAQA]},
    "truthfulqa": {"validation": [TRUTHFULQA | {"question": f"what is {index}?"} for index in range(20)]},
    "wikiqa": {"train": WIKIQA, "test": WIKIQA},
    "sst2": {"train": SST2, "validation": SST2},
    "wikitext2": {"validation": WIKITEXT, "test": WIKITEXT},
}


def publish(folder):
    """Write the public sets as repositories of the Hub, each beside a configuration that must not be read."""
    for name, splits in PUBLIC.items():
        repository, config = folder / HUB_SETS[name].repo, HUB_SETS[name].config or "default"
        card = ["---", "configs:"]
        for each in (config, "other"):
            card += [f"- config_name: {each}", "  data_files:"]
            card += [
                line for split in splits for line in (f"  - split: {split}", f"    path: {each}/{split}-*")
            ]
        (repository / config).mkdir(parents=True)
        (repository / "README.md").write_text("\n".join([*card, "---", ""]))
        for split, rows in splits.items():
            table = pa.Table.from_pylist(rows)
            pq.write_table(table, repository / config / f"{split}-00000-of-00001.parquet")


LOAD_ALL = """
import dataclasses, json, pathlib, sys
from avss_core.data.sources import SETS, load
data = load("hub", None, SETS, pathlib.Path("unused"))
pathlib.Path(sys.argv[1]).write_text(json.dumps(dataclasses.asdict(data)))
"""


@pytest.mark.slow
def test_all_sets_load_through_datasets(tmp_path, local_hub, run):
    publish(local_hub.folder)
    out = tmp_path / "data.json"
    finished = run(LOAD_ALL, str(out), **local_hub.environment)
    assert finished.returncode == 0, finished.stderr
    data = json.loads(out.read_text())
    assert data["origin"] == {"questions": "hub", "sentiment": "hub", "text": "hub"}
    questions = data["questions"]
    assert [row["id"] for row in questions["nq"]["test"]] == ["nq-test-00000", "nq-test-00001"]
    assert questions["triviaqa"]["train"] == [
        {"id": "triviaqa-train-00000", **next(triviaqa_rows([TRIVIAQA]))}
    ]
    assert questions["sciq"]["test"][0]["wrong_answers"] == ["oxygen", "argon"]
    assert len(questions["wikiqa"]["test"]) == 1
    assert len(questions["truthfulqa"]["train"]) + len(questions["truthfulqa"]["test"]) == 20
    assert data["sentiment"]["validation"] == [
        {"id": "sst2-validation-00000", "text": "a joy", "label": 1},
        {"id": "sst2-validation-00001", "text": "a bore", "label": 0},
    ]
    assert data["text"] == {"calibration": WIKITEXT_ARTICLES, "test": WIKITEXT_ARTICLES}
    fetched = [path for path in local_hub.asked if path.endswith(".parquet")]
    for name, record in HUB_SETS.items():
        own = [path for path in fetched if path.startswith(f"datasets/{record.repo}/")]
        assert own, name
        assert all(f"/resolve/{record.revision}/" in path for path in own)


def test_offline_without_a_cache_is_one_clear_error(tmp_path, run):
    finished = run(
        'from avss_core.data.hub_sets import load_set; load_set("nq")',
        HF_HOME=str(tmp_path / "home"),
        HF_HUB_OFFLINE="1",
    )
    assert finished.returncode == 1
    last = finished.stderr.strip().splitlines()[-1]
    assert last.startswith(
        "ConnectionError: the data set google-research-datasets/nq_open cannot be read from"
    )
    assert last.endswith("or use data.source=path (a folder of yours) or data.source=sample")
