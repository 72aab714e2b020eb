"""Ask questions of a model, judge its answers, and keep them as rows."""
