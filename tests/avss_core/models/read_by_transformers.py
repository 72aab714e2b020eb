"""Read checkpoints with the transformers that is imported, and print what it makes of them, as JSON.

Called with the folder of the checkpoints; each names a prompt and texts in `asked.json`.
"""

import json
import sys
from pathlib import Path
from typing import Any

import torch
import transformers

AUTO = dict.fromkeys(("bert", "distilbert", "mpnet"), transformers.AutoModelForMaskedLM)


def read_model(folder: Path, prompt: list[int]) -> list[list[float]]:
    """Return the logits of a prompt; errors if a tensor is missing or left over."""
    config = json.loads((folder / "config.json").read_text())
    # SDPA of transformers 4 leaves out Gemma 2's soft cap.
    options = {"attn_implementation": "eager"} if config["model_type"] == "gemma2" else {}
    loader = AUTO.get(config["model_type"], transformers.AutoModelForCausalLM)
    model, loading = loader.from_pretrained(folder, output_loading_info=True, **options)
    left = {kind: [*names] for kind, names in loading.items() if names}
    if left:
        raise ValueError(left)
    with torch.inference_mode():
        logits: list[list[float]] = model.eval().float()(torch.tensor([prompt])).logits[0].tolist()
    return logits


def read_tokenizer(folder: Path, texts: list[str]) -> dict[str, Any]:
    """Return what the tokenizer makes of texts."""
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    encoded = [dict(tokenizer(text)) for text in texts]
    chat = [{"role": "user", "content": "a"}]
    return {
        "encoded": encoded,
        "alone": [tokenizer(text, add_special_tokens=False).input_ids for text in texts],
        "decoded": [tokenizer.decode(each["input_ids"], skip_special_tokens=True) for each in encoded],
        "special": sorted(set(tokenizer.all_special_ids)),
        "chat": tokenizer.apply_chat_template(chat, tokenize=False) if tokenizer.chat_template else None,
        "padded": tokenizer(texts[:2], padding=True).input_ids,
    }


def read(folder: Path) -> dict[str, Any]:
    """Return everything about one checkpoint, or the error that says why it cannot be read."""
    asked = json.loads((folder / "asked.json").read_text())
    try:
        logits = read_model(folder, asked["prompt"]) if asked["prompt"] else None
        return {"logits": logits, "tokenizer": read_tokenizer(folder, asked["texts"])}
    except (ValueError, AttributeError, OSError) as error:
        return {"error": f"{type(error).__name__}: {error}"}


if __name__ == "__main__":
    torch.set_num_threads(1)
    transformers.logging.set_verbosity_error()
    answers = {folder.name: read(folder) for folder in sorted(Path(sys.argv[1]).iterdir())}
    print(json.dumps({"version": transformers.__version__, "answers": answers}))
