"""Statistics of activations from one streaming pass: moments, figures of a layer, collection."""
