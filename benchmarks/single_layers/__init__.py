"""Each layer trained alone, and which reading foretells what that gains."""
