"""Ask a model: prompts, generation, likelihood, layer read-out, perplexity, sentiment, speed."""
