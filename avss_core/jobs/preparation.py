"""Bring data and model into a folder: checked and split rows, and a plain checkpoint."""

from collections.abc import Sequence
from pathlib import Path

from avss_core.data.data_records import Manifest, ModelCard, SplitCounts
from avss_core.data.downloads import fetch_weights
from avss_core.data.rows import write_rows
from avss_core.data.sources import Wanted, load, load_text
from avss_core.display.steps import working
from avss_core.evaluation.answerable import answerable
from avss_core.evaluation.splits import check_disjoint, split_sets
from avss_core.files.digests import digest_json, digest_path
from avss_core.files.writing import folder_written_whole, write_json
from avss_core.models.architectures import depth
from avss_core.models.encoding import opening_tokens
from avss_core.models.loading import load_config, load_model, load_tokenizer, stored_dtype
from avss_core.models.locations import gguf_file
from avss_core.models.refusals import is_four_bit
from avss_core.models.saving import save_checkpoint
from avss_core.models.sizes import parameter_bytes, parameter_count
from avss_core.scores.choice import count_to_remove
from avss_core.settings.params import Params
from avss_core.settings.places import PROJECT, SAMPLE


def prepare_data(
    source: str,
    path: Path,
    sample_path: Path,
    sets: Sequence[str],
    wanted: Wanted,
    *,
    validation: float,
    calibration: float,
    seed: int,
    folder: Path,
) -> Manifest:
    """Write validated, disjoint rows and the text into a folder, and return its manifest."""
    with working("reading and checking rows"):
        raw = load(source, path, sets, sample_path, wanted)
    usable = {
        name: {side: answerable(rows) for side, rows in sides.items()}
        for name, sides in raw.questions.items()
    }
    splits = split_sets(
        {name: {side: each.rows for side, each in sides.items()} for name, sides in usable.items()},
        validation,
        calibration,
        seed,
    )
    check_disjoint(splits)
    for name, parts in splits.items():
        empty = [part for part in ("train", "test") if not parts.parts()[part]]
        if empty:
            raise ValueError(
                f"the set {name} has no {' and no '.join(empty)} row left; give it more questions"
            )
    with folder_written_whole(folder, replace=True) as part_folder:
        for name, parts in splits.items():
            for part, rows in parts.parts().items():
                write_rows(part_folder / name / f"{part}.jsonl", rows)
        for part, rows in raw.sentiment.items():
            write_rows(part_folder / "sst2" / f"{part}.jsonl", rows)
        for part, documents in raw.text.items():
            write_json(part_folder / "text" / f"{part}.json", documents)
        manifest: Manifest = {
            "origin": raw.origin,
            "sets": {
                name: SplitCounts(
                    train=len(parts.train),
                    validation=len(parts.validation),
                    calibration=len(parts.calibration),
                    test=len(parts.test),
                    duplicates=parts.duplicates,
                    shared_with_test=parts.shared_with_test,
                    wordless=sum(each.wordless for each in usable[name].values()),
                    accepted_as_wrong=sum(each.accepted_as_wrong for each in usable[name].values()),
                )
                for name, parts in splits.items()
            },
            "sentiment": {part: len(rows) for part, rows in raw.sentiment.items()},
            "digest": digest_json([raw.questions, raw.sentiment, raw.text]),
        }
        write_json(part_folder / "manifest.json", manifest)
    return manifest


def prepare_rows(params: Params, folder: Path) -> Manifest:
    """Put checked rows and the text that the settings name into a folder, and return the manifest."""
    data = params.data
    return prepare_data(
        data.source,
        PROJECT / data.path,
        SAMPLE,
        data.sets,
        wanted(params),
        validation=data.validation,
        calibration=data.calibration,
        seed=params.seed,
        folder=folder,
    )


def prepare_calibration(params: Params, folder: Path) -> tuple[Path, str]:
    """Put only the text into a folder; return the file of the calibration text, and where it comes from."""
    data = params.data
    origin = prepare_text(data.source, PROJECT / data.path, data.sets, SAMPLE, wanted(params), folder=folder)
    return folder / "text" / "calibration.json", origin


def wanted(params: Params) -> Wanted:
    """Return the text and the sentiment set of the parameters."""
    return Wanted(params.data.text, params.data.sentiment, params.data.characters)


def prepare_text(
    source: str, path: Path, sets: Sequence[str], sample_path: Path, wanted: Wanted, *, folder: Path
) -> str:
    """Write only the text into a folder, and return its source."""
    text, origin = load_text(source, path, sets, sample_path, wanted)
    with folder_written_whole(folder, replace=True) as part_folder:
        for part, documents in text.items():
            write_json(part_folder / "text" / f"{part}.json", documents)
    return origin


def encoder_refused(what: str, model_type: str) -> str:
    """Return the message for an encoder where answers or the next token are asked for."""
    return (
        f"{what} needs a model that writes answers, and {model_type} is an encoder; avss score, prune, "
        "repair, heal and evaluate take it"
    )


def width_warning(name: str, revision: str | None, dtype: str) -> str | None:
    """Return a sentence if a model is stored in fewer bytes a number than it is written in, None if not."""
    stored = stored_dtype(name, revision) if dtype == "float32" else None
    if stored not in {"bfloat16", "float16"}:
        return None
    return (
        f"{name} is stored in {stored} and written in float32, which takes twice the bytes; "
        f"--set model.dtype={stored} keeps it"
    )


def prepare_model(name: str, revision: str | None, *, dtype: str, folder: Path) -> ModelCard:
    """Write any model as a plain safetensors checkpoint, and return its model card."""
    # A GGUF file, which takes seconds to parse, is unpacked to the dtype that is asked for.
    if gguf_file(name) is None and is_four_bit(load_config(name, revision).to_dict()):
        raise ValueError(
            f"{name} has weights of 4 bits, which are read from a folder and not written into one: "
            f"`hf download {name} --local-dir DIR`, and give DIR to avss score or avss evaluate"
        )
    fetch_weights(name, revision)
    with working(f"loading {name}"):
        model = load_model(name, revision, dtype=dtype)
    layers = depth(model.config)
    count_to_remove(layers, 0.5)  # refuses a model too shallow to prune before any work is done
    tokenizer = load_tokenizer(name, revision)
    with working(f"writing {folder.name}"), folder_written_whole(folder, replace=True) as part:
        save_checkpoint(model, tokenizer, part)
        card: ModelCard = {
            "name": name,
            "revision": revision,
            "type": model.config.model_type,
            "layers": layers,
            "dtype": dtype,
            "parameters": parameter_count(model),
            "bytes": parameter_bytes(model),
            "weights": digest_json({p.name: digest_path(p) for p in sorted(part.glob("*.safetensors"))}),
            "beginning_token": opening_tokens(tokenizer)[:1] == [tokenizer.bos_token_id],
        }
        write_json(part / "model_card.json", card)
    return card
