"""Refit the blocks that are left towards what the dense model computes, in closed form."""
