"""Every reading of a layer that might say where training against hallucination helps."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from avss_core.data.rows import read_documents
from avss_core.hallucination.localization import eavss_contrast, eavss_paired, probe_auroc
from avss_core.hallucination.samples import AnswerSample, ObservedTokens, SampleActivations, observe_answers
from avss_core.jobs.prone.answer_samples import answer_samples, own_samples
from avss_core.models.architectures import depth
from avss_core.scores.layer_scores import score_layers
from avss_core.scores.ranking import kendall_tau

SITES = ("update", "output", "mlp_act")
RELATIVE = 0.1

Readings = dict[str, list[float]]
Own = Mapping[str, Mapping[str, Any]]


def all_readings(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    prepared: Path,
    sets: Sequence[str],
    own: Own,
    questions: int,
) -> tuple[Readings, dict[str, float | None]]:
    """Return each reading of each layer, and for each the tau of its sets' values with their length gap.

    A reading is the mean over the sets. `supplied` answers come with the questions, `matched` ones are those
    of them that differ by one token at most, `generated` ones are the model's own; `asked` compares questions
    that the model answers wrong with those it answers right, at the last token of the question. The gap of a
    set is the log of the tokens of its wrong answers over those of the accepted ones: a reading that follows
    it sees length.
    """
    by_set: dict[str, dict[str, list[float]]] = {}
    gaps: dict[str, dict[str, float]] = {"supplied": {}, "matched": {}, "generated": {}}
    for name in sets:
        supplied = answer_samples(prepared, name, questions)
        generated = own_samples(name, own[name]["questions"])[0]
        matched = _alike(tokenizer, supplied)
        for source, samples in (("supplied", supplied), ("matched", matched), ("generated", generated)):
            if len(samples) < 4:
                continue
            gaps[source][name] = _gap(tokenizer, samples)
            for label, values in _contrasts(model, tokenizer, samples).items():
                by_set.setdefault(f"{source} {label}", {})[name] = values
        asked = _asked(name, own[name]["questions"])
        if len({sample.hallucinated for sample in asked}) == 2:
            for label, values in _contrasts(model, tokenizer, asked, ("question",)).items():
                by_set.setdefault(f"asked {label}", {})[name] = values
    found = {
        label: [sum(column) / len(column) for column in zip(*values.values(), strict=True)]
        for label, values in by_set.items()
    }
    text = read_documents(prepared / "text" / "calibration.json")
    found["avss"] = score_layers(model, tokenizer, text, "avss").values.tolist()
    found["depth"] = [float(layer) for layer in range(depth(model.config))]
    taus = {label: _tau_with_gap(values, gaps.get(label.split()[0], {})) for label, values in by_set.items()}
    return found, taus


def _contrasts(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    samples: Sequence[AnswerSample],
    places: Sequence[ObservedTokens] = ("answer", "first"),
) -> Readings:
    """Return the contrast at each site, for each choice of tokens, as they are and scaled by the stream."""
    found: Readings = {}
    for site in SITES:
        for tokens in places:
            for scaled in (False, True):
                seen = observe_answers(
                    model, tokenizer, samples, site=site, relative=RELATIVE, tokens=tokens, scaled=scaled
                )
                sides = _sides(seen)
                label = f"{site} {tokens}{' scaled' if scaled else ''}"
                found[f"contrast {label}"] = eavss_contrast(*sides).tolist()
                if len(sides[0].ids) == len(sides[1].ids) and places != ("question",):
                    found[f"paired {label}"] = eavss_paired(*sides).tolist()
            if site == "update":
                found[f"probe {tokens}"] = _probe(seen, samples)
    return found


def _sides(seen: SampleActivations) -> tuple[SampleActivations, SampleActivations]:
    """Return the hallucinated and the truthful samples."""
    wrong, right = (seen.select(kind.nonzero()[:, 0]) for kind in (seen.hallucinated, ~seen.hallucinated))
    return wrong, right


def _probe(seen: SampleActivations, samples: Sequence[AnswerSample]) -> list[float]:
    """Return the AUROC of a probe fitted to one half of the questions and measured on the other."""
    questions = sorted({sample.question for sample in samples})
    half = set(questions[::2])
    parts = [
        torch.tensor([i for i, sample in enumerate(samples) if (sample.question in half) == first])
        for first in (True, False)
    ]
    try:
        return probe_auroc(*(seen.select(part) for part in parts)).tolist()
    except ValueError:  # one half has one kind of answer alone
        return [0.5] * seen.pooled.shape[1]


def _asked(name: str, rows: Sequence[Mapping[str, Any]]) -> list[AnswerSample]:
    """Return a sample for each question, by whether the model's greedy answer to it is wrong."""
    return [
        AnswerSample(
            f"{name}:{row['id']}",
            name,
            row["split"],
            row["question"],
            row["answers"][0]["text"] or "-",
            not row["answers"][0]["correct"],
            "generated",
        )
        for row in rows
    ]


def _alike(tokenizer: PreTrainedTokenizerBase, samples: Sequence[AnswerSample]) -> list[AnswerSample]:
    """Return the pairs whose answers differ by one token at most; samples that follow each other pair."""
    pairs = zip(samples[::2], samples[1::2], strict=True)
    return [
        sample
        for pair in pairs
        if abs(_tokens(tokenizer, pair[0].answer) - _tokens(tokenizer, pair[1].answer)) <= 1
        for sample in pair
    ]


def _tokens(tokenizer: PreTrainedTokenizerBase, text: str) -> int:
    return len(tokenizer(text, add_special_tokens=False).input_ids)


def _gap(tokenizer: PreTrainedTokenizerBase, samples: Sequence[AnswerSample]) -> float:
    """Return how much longer wrong answers are than accepted ones, as the log of the ratio of tokens."""
    lengths = {True: 0, False: 0}
    for sample in samples:
        lengths[sample.hallucinated] += _tokens(tokenizer, sample.answer)
    return float(torch.tensor(lengths[True] / lengths[False]).log())


def _tau_with_gap(values: Mapping[str, Sequence[float]], gaps: Mapping[str, float]) -> float | None:
    """Return Kendall's tau between the mean of a reading over the layers of a set and the set's gap."""
    sets = [name for name in values if name in gaps]
    means = [sum(values[name]) / len(values[name]) for name in sets]
    return kendall_tau(means, [gaps[name] for name in sets]) if len(sets) > 2 else None
