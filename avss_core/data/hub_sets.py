"""The public data sets on the Hugging Face Hub: the place of each, and how its rows become ours."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from huggingface_hub.utils import httpx  # type: ignore[attr-defined]  # the transport of its client

from avss_core.evaluation.splits import Row, stable_fraction
from avss_core.judges.normalisation import normalise

PublicRow = Mapping[str, Any]

_WRONG_SENTENCES = 3
"""Most wrong sentences of a WikiQA question; some have dozens."""


@dataclass(frozen=True)
class HubSet:
    """One public data set at one revision."""

    repo: str
    revision: str
    splits: Mapping[str, str]
    """The public split behind each of ours."""
    rows: Callable[[Iterable[PublicRow]], Iterator[Row]]
    """Makes our rows, without ids, from the public ones."""
    config: str | None = None
    train_share: float | None = None
    """Share of the questions on our train side, if one public split holds both sides."""


def nq_rows(rows: Iterable[PublicRow]) -> Iterator[Row]:
    """Yield question rows of Natural Questions (open)."""
    for row in rows:
        yield _question(row["question"], row["answer"])


def sciq_rows(rows: Iterable[PublicRow]) -> Iterator[Row]:
    """Yield question rows of SciQ; its three distractors are the wrong answers."""
    for row in rows:
        distractors = [row["distractor1"], row["distractor2"], row["distractor3"]]
        yield _question(row["question"], [row["correct_answer"]], distractors)


def triviaqa_rows(rows: Iterable[PublicRow]) -> Iterator[Row]:
    """Yield question rows of TriviaQA; the main answer comes before its aliases."""
    for row in rows:
        yield _question(row["question"], [row["answer"]["value"], *row["answer"]["aliases"]])


def truthfulqa_rows(rows: Iterable[PublicRow]) -> Iterator[Row]:
    """Yield question rows of TruthfulQA; the best answer comes before the other correct ones."""
    for row in rows:
        answers = [row["best_answer"], *row["correct_answers"]]
        yield _question(row["question"], answers, row["incorrect_answers"])


def wikiqa_rows(rows: Iterable[PublicRow]) -> Iterator[Row]:
    """Yield question rows of WikiQA, one for each question with an answer; its public rows are sentences."""
    questions: dict[str, str] = {}
    sentences: dict[str, dict[int, list[str]]] = {}
    for row in rows:
        questions.setdefault(row["question_id"], row["question"])
        by_label = sentences.setdefault(row["question_id"], {0: [], 1: []})
        by_label[row["label"]].append(row["answer"])
    for key, question in questions.items():
        made = _question(question, sentences[key][1], sentences[key][0])
        if made["answers"]:
            yield {**made, "wrong_answers": made["wrong_answers"][:_WRONG_SENTENCES]}


def sst2_rows(rows: Iterable[PublicRow]) -> Iterator[Row]:
    """Yield sentiment rows of SST-2."""
    for row in rows:
        yield {"text": row["sentence"].strip(), "label": row["label"]}


def wikitext_rows(rows: Iterable[PublicRow]) -> Iterator[Row]:
    """Yield the lines of WikiText's file; the Hub's rows hold its blank lines as empty texts."""
    for row in rows:
        yield {"text": row["text"] or " \n"}


HUB_SETS: Mapping[str, HubSet] = {
    "nq": HubSet(
        repo="google-research-datasets/nq_open",
        revision="5dd9790a83002ad084ddeb7c420dc716852c6f28",
        splits={"train": "train", "test": "validation"},
        rows=nq_rows,
    ),
    "sciq": HubSet(
        repo="allenai/sciq",
        revision="2c94ad3e1aafab77146f384e23536f97a4849815",
        splits={"train": "train", "test": "test"},
        rows=sciq_rows,
    ),
    "triviaqa": HubSet(
        repo="mandarjoshi/trivia_qa",
        config="rc.nocontext",
        revision="0f7faf33a3908546c6fd5b73a660e0f8ff173c2f",
        # The public test split has no answers.
        splits={"train": "train", "test": "validation"},
        rows=triviaqa_rows,
    ),
    "truthfulqa": HubSet(
        repo="truthfulqa/truthful_qa",
        config="generation",
        revision="741b8276f2d1982aa3d5b832d3ee81ed3b896490",
        splits={"train": "validation", "test": "validation"},
        train_share=0.65,
        rows=truthfulqa_rows,
    ),
    "wikiqa": HubSet(
        repo="microsoft/wiki_qa",
        revision="3f104672b5de699878fe7907afc486f0de325eb5",
        splits={"train": "train", "test": "test"},
        rows=wikiqa_rows,
    ),
    "sst2": HubSet(
        repo="stanfordnlp/sst2",
        revision="8d51e7e4887a4caaa95b3fbebbf53c0490b58bbb",
        # The public test split has no labels.
        splits={"train": "train", "validation": "validation"},
        rows=sst2_rows,
    ),
    "wikitext2": HubSet(
        repo="Salesforce/wikitext",
        config="wikitext-2-raw-v1",
        revision="b08601e04326c79dfdd32d625aee71d232d685c3",
        splits={"calibration": "validation", "test": "test"},
        rows=wikitext_rows,
    ),
}


def load_set(name: str) -> dict[str, list[Row]]:
    """Return the rows of a public data set by our split names, with ids "{set}-{split}-{index:05d}".

    Args:
        name: a key of `HUB_SETS`.

    Raises:
        ConnectionError: the Hub cannot be reached, and the data set is not in its local cache.
    """
    record = HUB_SETS[name]
    loaded: dict[str, list[Row]] = {}
    for split, public in record.splits.items():
        rows = [row for row in record.rows(_download(record, public)) if _belongs(record, split, row)]
        loaded[split] = [{"id": f"{name}-{split}-{index:05d}", **row} for index, row in enumerate(rows)]
    return loaded


def _belongs(record: HubSet, split: str, row: Row) -> bool:
    """Return whether a row belongs to our `split`; two of ours may share one public split."""
    if record.train_share is None:
        return True
    return (stable_fraction(row["question"]) < record.train_share) == (split == "train")


def _download(record: HubSet, public: str) -> Iterable[PublicRow]:
    """Return the rows of one public split, from the Hub's local cache if they are there."""
    # Imported here: datasets takes seconds, and only a run on the public sets needs it.
    from datasets import load_dataset

    with reaching(record.repo):
        rows: Iterable[PublicRow] = load_dataset(
            record.repo, record.config, split=public, revision=record.revision
        )
    return rows


@contextmanager
def reaching(repo: str) -> Iterator[None]:
    """Turn what an outage of the Hub raises inside into one ConnectionError that says what to do."""
    try:
        yield
    except (ConnectionError, FileNotFoundError, httpx.HTTPError) as error:
        reason = str(error).partition("\n")[0].rstrip(".")
        raise ConnectionError(
            f"the data set {repo} cannot be read from the Hugging Face Hub ({reason}): connect this "
            "machine to it, or use data.source=path (a folder of yours) or data.source=sample"
        ) from error


def _question(question: str, answers: Iterable[str], wrong_answers: Iterable[str] = ()) -> Row:
    """Return a question row without its id; each answer stands once, and no accepted one among the wrong."""
    accepted = _distinct(answers)
    taken = {normalise(answer) for answer in accepted}
    wrong = [answer for answer in _distinct(wrong_answers) if normalise(answer) not in taken]
    return {"question": question.strip(), "answers": accepted, "wrong_answers": wrong}


def _distinct(texts: Iterable[str]) -> list[str]:
    """Return the texts that are not blank: trimmed, each once, in order."""
    return list(dict.fromkeys(text.strip() for text in texts if text.strip()))
