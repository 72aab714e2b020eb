"""Results that are worth keeping: units of work, their keys, and a folder that holds what they returned."""
