"""Cached units of work: their keys, fingerprints of the code, and stored results."""
