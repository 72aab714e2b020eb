"""The card of a checkpoint on the Hub: metadata that the Hub reads, in front of what a person reads."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from huggingface_hub import EvalResult, ModelCard

from avss_core.models.locations import EMBEDDED
from avss_core.surgery.cards import how_checked
from avss_core.surgery.certificate_records import Certificate
from avss_core.surgery.markdown import plain

RELATION = "finetune"
"""The one for changed weights among the Hub's relations: adapter, finetune, merge, quantized."""


@dataclass(frozen=True)
class Licence:
    """Under which terms a model may be used, in the Hub's words."""

    license: str
    """Identifier such as apache-2.0, or `other`."""
    license_name: str | None = None
    license_link: str | None = None


@dataclass(frozen=True)
class Measured:
    """One figure of a checkpoint."""

    task_type: str
    """As the Hub calls it, such as question-answering."""
    dataset: str
    """Identifier; those of this project begin with avss_, since its prompts and judges are its own."""
    described: str
    """The data in words, with their number and the judge."""
    metric: str
    value: float
    interval: tuple[float, float] | None = None
    """95 %, by bootstrap."""


@dataclass(frozen=True)
class About:
    """What a card says that the checkpoint does not."""

    licence: Licence
    base_model: str | None = None
    """Hub id."""
    datasets: Sequence[str] = ()
    """Hub ids of the data that it was repaired or trained with."""
    results: Sequence[Measured] = field(default=())


def hub_card(text: str, name: str, about: About) -> str:
    """Return a card with its metadata completed; what it says besides stays.

    Results go into `model-index`: the Hub's newer `.eval_results` are for runs of benchmarks that are
    registered there, in their own form.

    Args:
        text: of the card, with or without metadata.
        name: of the checkpoint, under which its results stand.
        about: what is added.

    Raises:
        ValueError: the metadata of the text cannot be read.
    """
    card = _card(text)
    data: Any = card.data
    for key in ("license", "license_name", "license_link"):
        data[key] = getattr(about.licence, key)
    if about.base_model:
        data.base_model = about.base_model
        data["base_model_relation"] = RELATION
    data.library_name = data.library_name or "transformers"
    data.pipeline_tag = data.pipeline_tag or "text-generation"
    data.tags = list(dict.fromkeys([*(data.tags or []), "avss"]))
    if about.datasets:
        data.datasets = list(dict.fromkeys([*_listed(data.datasets), *about.datasets]))
    if about.results:
        data.model_name = name
        data.eval_results = [_eval_result(result) for result in about.results]
        card.text = f"{card.text.rstrip()}\n\n{_table(about.results)}"
    return str(card)


def written_card(name: str, certificate: Certificate | None, base_model: str | None) -> str:
    """Return what a person reads about a checkpoint that has no card of its own."""
    made = f"Made from [{base_model}](https://huggingface.co/{base_model})" if base_model else "Made"
    lines = [
        f"# {plain(name)}",
        "",
        f"{made} with AVSS, which removes layers of models and mends the rest.",
    ]
    if certificate is not None:
        kept = ", ".join(map(str, certificate["layer_map"]))
        lines += [
            "",
            "| | |",
            "| --- | --- |",
            f"| layers | {len(certificate['layer_map'])}, which were number {kept} of the dense model |",
            f"| parameters | {certificate['parameters']:,} |",
            f"| dtype | {plain(certificate['dtype'])} |",
            "",
            *how_checked(certificate),
        ]
    lines += ["", "The base model's licence, intended use and biases hold for what is left of it.", ""]
    return "\n".join(lines)


def base_of(certificate: Certificate | None) -> str | None:
    """Return the Hub id of the model that a checkpoint was made from, if its certificate says one."""
    known = certificate["provenance"] if certificate else {}
    for name in (known.get("teacher"), known.get("model")):
        if name in EMBEDDED:
            return EMBEDDED[str(name)].base_model
        # Without an owner it may as well be the name of a folder.
        if name and re.fullmatch(r"[\w-][\w.-]*/[\w-][\w.-]*", str(name), re.ASCII):
            return str(name)
    return None


def base_in(text: str) -> str | None:
    """Return the first base model that a card names."""
    data: Any = _card(text).data
    return next(iter(_listed(data.base_model)), None)


def licence_in(text: str) -> Licence | None:
    """Return the licence that a card names."""
    data: Any = _card(text).data
    return licence_of(data.to_dict())


def licence_of(metadata: Mapping[str, Any]) -> Licence | None:
    """Return the licence in the metadata of a card."""
    known = metadata.get("license")
    if not isinstance(known, str) or known == "unknown":
        return None
    return Licence(known, metadata.get("license_name"), metadata.get("license_link"))


def measured(record: Mapping[str, Any]) -> list[Measured]:
    """Return the headline figures of what `avss evaluate --json` printed.

    Raises:
        ValueError: the record is another one; names what it lacks.
    """
    try:
        results = [
            Measured(
                "question-answering",
                f"avss_{name}",
                f"{name} as avss evaluate asks it ({figures['shots']} shots, n = {figures['n']}, "
                f"judge {figures['judge']})",
                "accuracy",
                figures["accuracy"]["value"],
                _interval(figures["accuracy"]),
            )
            for name, figures in record["sets"].items()
            if figures["accuracy"]["value"] is not None
        ]
        text, reviews = record["language_modelling"], record["sentiment"]
        results += [
            Measured(
                "text-generation", "avss_text", f"test text ({text['tokens']:,} tokens)", name, text[name]
            )
            for name in ("token_perplexity", "word_perplexity")
        ]
        described, accuracy = f"sentiment of reviews (n = {reviews['n']})", reviews["accuracy"]
        if accuracy["value"] is not None:
            kind, interval = "text-classification", _interval(accuracy)
            results.append(
                Measured(kind, "avss_sentiment", described, "accuracy", accuracy["value"], interval)
            )
    except (KeyError, TypeError) as error:
        raise ValueError(f"not what avss evaluate --json prints: it lacks {error}") from error
    return results


def _card(text: str) -> ModelCard:
    """Return a card taken apart.

    Raises:
        ValueError: its metadata cannot be read.
    """
    try:
        return ModelCard(text if text.startswith("---") else f"---\nlibrary_name: transformers\n---\n{text}")
    except Exception as error:  # of a YAML parser, or the library's own
        raise ValueError(
            f"README.md: its metadata, the lines between ---, cannot be read: {error}"
        ) from error


def _interval(entry: Mapping[str, Any]) -> tuple[float, float] | None:
    """Return the ends of a figure's interval, if it has one."""
    low, high = entry.get("low"), entry.get("high")
    return None if low is None or high is None else (low, high)


def _eval_result(result: Measured) -> EvalResult:
    """Return a figure as the Hub keeps it."""
    return EvalResult(
        task_type=result.task_type,
        dataset_type=result.dataset,
        dataset_name=result.described,
        metric_type=result.metric,
        metric_name=result.metric.replace("_", " "),
        metric_value=result.value,
    )


def _table(results: Sequence[Measured]) -> str:
    """Return the figures as a table."""
    rows = [
        f"| {plain(result.described)} | {result.metric.replace('_', ' ')} | {result.value:.4g} | "
        f"{'' if result.interval is None else '{:.3f} to {:.3f}'.format(*result.interval)} |"
        for result in results
    ]
    head = ["## Measured", "", "| on | figure | value | 95 % interval |", "| --- | --- | --- | --- |"]
    return "\n".join([*head, *rows, ""])


def _listed(value: Any) -> list[str]:
    """Return one entry or several as a list."""
    return [value] if isinstance(value, str) else list(value or [])
