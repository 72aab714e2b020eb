"""Make docs/library.ipynb, the notebook of the guide docs/library.md: `python docs/notebook.py`."""

import doctest
import json
import re
from pathlib import Path
from typing import Any

PAGE = Path(__file__).with_name("library.md")
NOTEBOOK = PAGE.with_suffix(".ipynb")

_BLOCK = re.compile(r"(?<!<!-- not run -->\n)^```python\n(.*?)^```\n", re.MULTILINE | re.DOTALL)

_BEFORE = """\
The next cell writes the random model of six layers that the outputs below are of, with a tokenizer of bytes,
into the folder `model`. With a model of your own, leave it out and put that model's name in its place.
"""

_MODEL = """\
import torch
from tokenizers import Tokenizer, decoders, pre_tokenizers
from tokenizers.models import BPE
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

letters = sorted(pre_tokenizers.ByteLevel.alphabet())
tokens = Tokenizer(BPE(vocab={letter: number for number, letter in enumerate(letters)}, merges=[]))
tokens.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
tokens.decoder = decoders.ByteLevel()
end = {"eos_token": "<|endoftext|>", "pad_token": "<|endoftext|>"}
PreTrainedTokenizerFast(tokenizer_object=tokens, **end, model_max_length=128).save_pretrained("model")
torch.manual_seed(0)
sizes = {"vocab_size": 257, "hidden_size": 32, "intermediate_size": 64, "max_position_embeddings": 128}
layers = {"num_hidden_layers": 6, "num_attention_heads": 4, "num_key_value_heads": 2}
numbers = {"bos_token_id": None, "eos_token_id": 256, "pad_token_id": 256, "initializer_range": 0.2}
LlamaForCausalLM(LlamaConfig(**sizes, **layers, **numbers, tie_word_embeddings=True)).save_pretrained("model")
"""


def notebook(page: str) -> dict[str, Any]:
    """Return a page as a notebook (nbformat 4.4): its text, and a cell for each example with what it shows.

    Blocks behind `<!-- not run -->` stay text.
    """
    cells = []
    for number, part in enumerate(_BLOCK.split(page)):
        if number % 2:
            cells += _code_cells(part)
        elif part.strip():
            cells.append(_cell("markdown", part))
        if number == 0:
            cells += [_cell("markdown", _BEFORE), _code(_MODEL)]
    kernel = {"display_name": "Python 3", "language": "python", "name": "python3"}
    about = {"kernelspec": kernel, "language_info": {"name": "python"}}
    return {"cells": cells, "metadata": about, "nbformat": 4, "nbformat_minor": 4}


def notebook_text(page: str) -> str:
    """Return the text of the notebook's file."""
    return json.dumps(notebook(page), indent=1, ensure_ascii=False) + "\n"


def _code_cells(block: str) -> list[dict[str, Any]]:
    """Return the examples of a block as cells, each up to an example that shows something."""
    cells, waiting = [], ""
    for example in doctest.DocTestParser().get_examples(block):
        waiting += example.source
        if example.want:
            cells.append(_code(waiting, example))
            waiting = ""
    return [*cells, _code(waiting)] if waiting else cells


def _code(source: str, example: doctest.Example | None = None) -> dict[str, Any]:
    """Return a cell of code with what its last example shows."""
    cell = _cell("code", source) | {"execution_count": None, "outputs": []}
    if example is None:
        return cell
    if example.exc_msg is None:
        shown = {"data": {"text/plain": _lines(example.want)}, "execution_count": None, "metadata": {}}
        return cell | {"outputs": [{"output_type": "execute_result", **shown}]}
    name, _, message = example.exc_msg.strip().partition(": ")
    error = {"output_type": "error", "ename": name, "evalue": message, "traceback": [example.exc_msg.strip()]}
    return cell | {"outputs": [error], "metadata": {"tags": ["raises-exception"]}}


def _cell(kind: str, source: str) -> dict[str, Any]:
    return {"cell_type": kind, "metadata": {}, "source": _lines(source)}


def _lines(text: str) -> list[str]:
    return text.strip("\n").splitlines(keepends=True)


if __name__ == "__main__":
    NOTEBOOK.write_text(notebook_text(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
