"""Measure what removing layers costs, and what of it a repair in closed form brings back."""
