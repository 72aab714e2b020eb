"""Commands that hand a finished checkpoint on: as a file for another program, or to the Hugging Face Hub."""
