"""Is this answer right: normalisation, the table of judges, the fitted judge and its features."""
