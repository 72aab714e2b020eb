"""The activation dump: every layer on truthful and wrong answers, of the data or the model's own."""

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from avss_core.caching.kept_results import Run
from avss_core.caching.loaded_model import model_at
from avss_core.data.rows import learning_files, write_rows
from avss_core.display.steps import progress
from avss_core.files.writing import folder_written_whole, write_json
from avss_core.hallucination.samples import observe_answers, save_samples
from avss_core.jobs.prone.answer_samples import samples_of
from avss_core.jobs.prone.own_answering import own_answers
from avss_core.settings.params import Params


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


def dump_settings(params: Params) -> dict[str, Any]:
    """Return what is read and where, as arguments of `dump_activations`."""
    options = params.collect
    return {
        **params.machine,
        "sets": params.data.sets,
        "site": options.dump_site,
        "relative": options.relative_threshold,
        "questions": options.answers,
        "supplied": options.answers_from != "generated",
    }


def asked_answers(params: Params, model: Path, prepared: Path, run: Run) -> dict[str, dict[str, Any]]:
    """Return the model's own answers by set, to questions of every part but the test.

    None where only supplied answers are read. `run` runs the units, one a set.
    """
    collecting, asking = params.collect, params.evaluate
    if collecting.answers_from == "supplied":
        return {}
    jobs = {
        name: partial(
            own_answers,
            model,
            learning_files(prepared / name),
            prepared / name / "calibration.jsonl",
            **params.machine,
            questions=collecting.answers,
            shots=asking.shots,
            chat=asking.chat,
            max_new_tokens=asking.max_new_tokens,
            batch_size=asking.batch_size,
            samples=collecting.samples,
            temperature=collecting.temperature,
            seed=params.seed,
            judge_name=collecting.judge,
        )
        for name in params.data.sets
    }
    answers: dict[str, dict[str, Any]] = run(jobs, "own answers")
    return answers
