"""What the tests of commands share: quick settings, small data, and the result of a command."""

import json
import re
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]


COMMANDS = (
    "run", "score", "sweep", "prune", "repair", "speed", "evaluate", "heal", "localize", "mitigate", "verify",
    "export", "push", "report", "deploy", "worker",
)  # fmt: skip


QUICK = {
    "collect.tokens": 512,
    "score.compare": "[avss]",
    "score.cost_tokens": 128,
    "score.repair_tokens": 64,
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
    "repair.tokens": 600,
    "repair.window": 50,
    "heal.tokens": 300,
    "heal.batch_size": 2,
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


DOCUMENTED = {command: columns.split() for command, columns in reversed(_ROWS)}
"""The columns in a pipe by command, as the documentation promises them; the first of a command's rows."""


SHAPES = {name: [columns.split() for command, columns in _ROWS if command == name] for name in DOCUMENTED}
"""All that a command's rows promise: what it is given decides between them."""


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
