"""Score, prune and mend the layers of transformer language models."""
