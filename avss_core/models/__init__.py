"""Find, load and look at a model: families, configuration, placement, hooks, batches, views, sizes."""
