"""Offline judges of short answers. To add a judge, write a function and add a row to `JUDGES`.

Agreement with GPT-4's verdicts (Cohen's kappa) on the answers of llama-7b, left out of the fits. The first
four rows are by `benchmarks/judges.py`, the others by `benchmarks/fit_judge.py`:

| judge          |   nq | sciq | triviaqa | truthfulqa | wikiqa |
| -------------- | ---- | ---- | -------- | ---------- | ------ |
| exact          | .550 | .503 |     .310 |       .102 |   .000 |
| contains       | .562 | .566 |     .390 |       .196 |  -.008 |
| f1             | .752 | .611 |     .462 |       .323 |   .328 |
| rouge_l        | .737 | .594 |     .450 |       .269 |   .268 |
| fitted_lexical | .771 | .728 |     .521 |       .468 |   .485 |
| fitted         | .780 | .717 |     .565 |       .569 |   .565 |

With each of the three models left out in turn, kappa of the verdicts on all three together:

| judge          |   nq | sciq | triviaqa | truthfulqa | wikiqa |
| -------------- | ---- | ---- | -------- | ---------- | ------ |
| fitted_lexical | .729 | .724 |     .591 |       .495 |   .434 |
| fitted         | .744 | .734 |     .615 |       .545 |   .505 |

The encoders help most on sets whose answers are sentences (TruthfulQA, WikiQA), on which every judge stays
weak; another seed of the trees changes about .01, on WikiQA .02. Features and thresholds were chosen on the
same files; on models that nobody chose on, expect `UNCHOSEN`. The judges mostly reject a right answer that
shares no word with the gold answer. `fitted_judge.json` has the kappas of each model, and those of fits that
did not see the questions either.

The thresholds of f1 and rouge_l were chosen on the answers of gpt2-xl and gpt-j-6b. There the mean kappa of
the five sets changes by less than .02 from 0.45 to 0.65 and falls above, so both are 0.5.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

from avss_core.judges.fitted_judge import FILE, fitted_verdicts, read_fits
from avss_core.judges.normalisation import contains, contradicts, exact_match, f1, rouge_l
from avss_core.plugins import Table, record_of
from avss_core.registry import lookup

F1_CORRECT = 0.5
"""Token F1 from which an answer counts as correct."""

ROUGE_L_CORRECT = 0.5
"""ROUGE-L F-measure from which an answer counts as correct."""

DEFAULT_JUDGE: Mapping[str, str] = dict.fromkeys(("nq", "sciq", "triviaqa", "truthfulqa", "wikiqa"), "fitted")
"""The judge of each set that agrees best with GPT-4 in the second table above.

It does not depend on what is installed: without its encoders `fitted` raises an error.
"""

UNCHOSEN: Mapping[str, float] = {
    "nq": 0.70,
    "sciq": 0.67,
    "triviaqa": 0.61,
    "truthfulqa": 0.56,
    "wikiqa": 0.48,
}
"""Kappa of `fitted` with GPT-4 on the answers of Llama-2-7b, LLaMA-30b and vicuna-13b, together.

Nobody fitted or chose anything on these answers, up to 300 a set and model. `benchmarks/judges.py --models`
prints such a row from their files.
"""

Judged = tuple[str, str, Sequence[str]]
"""A question, an answer to it, and the gold answers, any of which may match."""


@dataclass(frozen=True)
class Judge:
    """One way to tell whether answers are correct, offline."""

    name: str
    verdicts: Callable[[Sequence[Judged]], list[bool]]
    """Returns whether each answer is correct."""
    reference: str
    """Definition and source."""


def judge(name: str) -> Judge:
    """Return a judge.

    Raises:
        LookupError: no judge has that name (gives near matches).
    """
    return lookup(JUDGES, name, "judge")


def default_judge(set_name: str) -> str:
    """Return the name of a question set's judge, `fitted` for an unknown set."""
    return DEFAULT_JUDGE.get(set_name, "fitted")


def kappa(name: str, set_name: str) -> float | None:
    """Return a fitted judge's agreement with GPT-4 on a set (Cohen's kappa), None if it was not measured.

    It is measured on the answers of three models, each left out of the fit in turn; features and thresholds
    were chosen on the same answers.
    """
    fit = read_fits(FILE).get(name)
    measured = None if fit is None else fit.kappa["model left out"].get(set_name)
    return None if measured is None else float(measured["together"])


def unchosen_kappa(name: str, set_name: str) -> float | None:
    """Return a judge's agreement with GPT-4 on a set, on models that nobody chose on; None if unknown.

    It is Cohen's kappa, and what to expect on another model.
    """
    return UNCHOSEN.get(set_name) if name == "fitted" else None


def _f1_verdict(answer: str, golds: Sequence[str]) -> bool:
    """Return whether the token F1 reaches its threshold, and no sign differs."""
    return f1(answer, golds) >= F1_CORRECT and not contradicts(answer, golds)


def _rouge_l_verdict(answer: str, golds: Sequence[str]) -> bool:
    """Return whether ROUGE-L reaches its threshold, and no sign differs."""
    # The harmonic mean of rounded precision and recall can put a true half just below 0.5.
    return round(rouge_l(answer, golds), 9) >= ROUGE_L_CORRECT and not contradicts(answer, golds)


def _each(verdict: Callable[[str, Sequence[str]], bool]) -> Callable[[Sequence[Judged]], list[bool]]:
    """Return a judge of many answers from a verdict on one answer and its gold answers."""
    return lambda rows: [verdict(answer, golds) for _, answer, golds in rows]


_OWN: Mapping[str, Judge] = {
    record.name: record
    for record in (
        Judge("exact", _each(exact_match), "normalised answer = a normalised gold answer; 1606.05250"),
        Judge(
            "contains",
            _each(contains),
            "a normalised gold answer is in the normalised answer, as whole tokens",
        ),
        Judge("f1", _each(_f1_verdict), f"token F1 >= {F1_CORRECT}; 1606.05250"),
        Judge("rouge_l", _each(_rouge_l_verdict), f"ROUGE-L F-measure >= {ROUGE_L_CORRECT}; Lin 2004"),
        Judge(
            "fitted",
            partial(fitted_verdicts, "fitted"),
            "a line and randomised trees on words, numbers and embeddings, fitted to GPT-4's verdicts",
        ),
        Judge(
            "fitted_lexical",
            partial(fitted_verdicts, "fitted_lexical"),
            "a line and randomised trees on words and numbers, fitted to GPT-4's verdicts",
        ),
    )
}

JUDGES = Table(_OWN, "avss.judges", record_of(Judge))
"""Every judge."""
