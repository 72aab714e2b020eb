"""The command line `avss`: one file a command, the options that they share, and printing."""
