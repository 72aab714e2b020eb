"""Remove layers from a model and repair what is left."""
