"""The parameters: their schema, how they are read and merged, and what is said of a wrong one."""
