"""Remove layers, write the smaller checkpoint, and prove that it is what it says."""
