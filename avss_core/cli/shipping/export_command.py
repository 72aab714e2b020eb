"""`avss export`: a checkpoint as a file for other programs."""

from pathlib import Path
from typing import Annotated

import typer

from avss_core.cli.options import AsJson
from avss_core.cli.printing import say_unless, show
from avss_core.cli.session import loading
from avss_core.display.steps import progress, working


def export(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="A checkpoint folder.", show_default=False)],
    gguf: Annotated[
        bool, typer.Option("--gguf", help="Write a GGUF file, for llama.cpp, Ollama and others.")
    ] = False,
    out: Annotated[
        Path | None, typer.Option(help="The file to make; a new one. Left out: DIR.gguf, beside the folder.")
    ] = None,
    dtype: Annotated[
        str | None, typer.Option(help="float32, float16 or bfloat16. Left out: that of the checkpoint.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Write a checkpoint, pruned or not, as one GGUF file, unquantized and with its tokenizer.

    The file has the tensors, names and metadata that llama.cpp's own converter
    gives it. Then transformers reads it back, and its logits must be those of the
    checkpoint; a file that fails is not left behind. A model that GGUF cannot
    hold, such as one whose blocks differ in an order that removing layers has
    changed, is refused before any work. llama-quantize makes it smaller.

    Prints one row, of the file.

    Example: avss export pruned --gguf --out pruned.gguf
    """
    if not gguf:
        raise ValueError("say what to write: --gguf is the one format there is")
    out = out or folder.absolute().with_name(f"{folder.resolve().name}.gguf")
    if out.suffix != ".gguf":
        raise ValueError(f"--out {out}: the name of a GGUF file ends in .gguf")
    with working(f"{folder} as GGUF"):
        with loading():
            from avss_core.surgery.export.gguf_export import export_gguf, plan_gguf
        plan = plan_gguf(folder, dtype)
        with progress(f"writing and checking {out.name}", len(plan.tensors), "tensors") as advance:
            record = export_gguf(plan, out, progress=advance)
    row = {"file": str(out), **{key: value for key, value in record.items() if key != "set_by_hand"}}
    say_unless(
        as_json,
        f"{out}: read back by transformers, its logits differ by {record['logit_difference']:.1e} of the "
        f"largest ({record['tolerance']:.1e} allowed)",
    )
    show(
        {"folder": str(folder), **row, "set_by_hand": record["set_by_hand"]},
        [row],
        title=f"{folder} as GGUF",
        as_json=as_json,
    )
