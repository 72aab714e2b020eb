"""Layers that hallucinate: the answers that they are read from, which they are, and how they are trained."""
