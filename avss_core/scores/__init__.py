"""Score layers, rank them, choose which to remove, and tell how sure the choice is."""
