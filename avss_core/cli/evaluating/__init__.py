"""The command that measures models, and the rows that it prints."""
