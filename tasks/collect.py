"""Measure activations: statistics of text sources that merge, and the dump of activations by answer."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from prefect import task

from avss_core.files.writing import folder_written_whole, write_json
from avss_core.hallucination.samples import observe_answers, save_samples
from avss_core.models.architectures import reads_both_ways
from avss_core.models.batches import text_batches
from avss_core.statistics.collection import collect_statistics
from avss_core.statistics.layer_records import StatisticsPart
from avss_core.statistics.statistics import Thresholds
from tasks.answers.answer_samples import samples_of
from tasks.cache.loaded_model import model_at
from tasks.cache.units import unit
from tasks.data.rows import read_documents, read_prepared, write_rows
from tasks.progress.steps import progress


@unit("text-statistics")
def text_statistics(
    model: Path,
    source: Path,
    *,
    dtype: str,
    device: str,
    tokens: int,
    window: int,
    batch_size: int,
    skip_first: bool,
    sites: Sequence[str],
    absolute: float,
    relative: float,
    part: int,
    parts: int,
) -> StatisticsPart:
    """Return the statistics of every layer over one part of a text: documents, or questions with answers.

    Each part gets a run of the text's windows. A part without windows has no layers.
    """
    network, tokenizer = model_at(model, dtype, device)
    documents = read_documents(source) if source.suffix == ".json" else _as_text(source)
    batches = text_batches(
        tokenizer,
        documents,
        tokens=tokens,
        window=window,
        batch_size=batch_size,
        skip_first=skip_first,
        part=part,
        parts=parts,
        encoder=reads_both_ways(network.config),
    )
    if not any(batch.counted.any() for batch in batches):
        return {"tokens": 0, "layers": []}
    # The caller already counts parts, if there are several.
    counted = len(batches) if parts == 1 else 0
    with progress(f"statistics of {source.parent.name}", counted, "batches") as advance:
        layers = collect_statistics(
            network,
            batches,
            sites=sites,
            thresholds=Thresholds(absolute, relative),
            progress=advance,
        )
    return {"tokens": sum(batch.tokens for batch in batches), "layers": [layer.record() for layer in layers]}


@task(name="dump-activations")
def dump_activations(
    model: Path,
    prepared: Path,
    sets: Sequence[str],
    *,
    dtype: str,
    device: str,
    site: str,
    relative: float,
    questions: int,
    supplied: bool,
    own: Mapping[str, dict[str, Any]],
    folder: Path,
) -> dict[str, Any]:
    """Write the activations of every layer on truthful and wrong answers of train and validation questions.

    `answers.json` beside them counts the answers by set and source, and `own_answers.jsonl` holds the model's
    own answers with their verdicts, if it gave any.

    Args:
        model: a checkpoint folder.
        prepared: the folder of the prepared rows.
        sets: names of the question sets.
        dtype: of the model.
        device: of the model.
        site: where activations are read.
        relative: magnitude that counts as zero, as a share of the RMS of the block input.
        questions: number of questions of a set whose supplied answers are read.
        supplied: whether the answers that come with the questions are read.
        own: the result of `own_answers` by set; empty if only supplied answers are read.
        folder: is replaced.

    Raises:
        ValueError: only the model's own answers are read, and fewer than two questions have both kinds.
    """
    samples, counted = samples_of(prepared, sets, questions, supplied=supplied, own=own)
    network, tokenizer = model_at(model, dtype, device)
    with progress("activations of answers", len(samples), "answers") as advance:
        activations = observe_answers(
            network, tokenizer, samples, site=site, relative=relative, progress=advance
        )
    with folder_written_whole(folder, replace=True) as part:
        save_samples(activations, part / f"{site}.safetensors")
        write_rows(part / "samples.jsonl", [vars(sample) for sample in samples])
        write_json(part / "answers.json", counted)
        if own:
            rows = [{"set": name} | row for name, answers in own.items() for row in answers["questions"]]
            write_rows(part / "own_answers.jsonl", rows)
    return {
        "answers": len(samples),
        "layers": activations.pooled.shape[1],
        "hidden": activations.pooled.shape[2],
    }


def _as_text(path: Path) -> list[str]:
    """Return a document for each question row: the question and its first accepted answer."""
    return [f"Question: {row['question']}\nAnswer: {row['answers'][0]}" for row in read_prepared(path)]
