"""What the libraries read of the environment; the user's own values win."""

import os


def calm_libraries() -> None:
    """Let libraries send no telemetry, draw no bars, convert no weights; call it before they are imported."""
    for name, value in {
        "DO_NOT_TRACK": "1",
        "HF_HUB_DISABLE_TELEMETRY": "1",
        # Otherwise the Hub is asked to convert pickled weights, and its proposal is loaded.
        "DISABLE_SAFETENSORS_CONVERSION": "1",
        "TOKENIZERS_PARALLELISM": "false",
        # They would be drawn over the bars of `avss_core.display.steps`.
        "HF_HUB_DISABLE_PROGRESS_BARS": "1",
        "TQDM_DISABLE": "1",
    }.items():
        os.environ.setdefault(name, value)
