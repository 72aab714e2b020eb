"""One training engine, and what is trained with it: healing, mitigation and its controls."""
