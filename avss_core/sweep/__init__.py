"""How many layers can go: the loss against the number of layers removed, before and after a small repair."""
