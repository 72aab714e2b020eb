"""How flows run: the workspace, the server, engines, locks, mending after a kill, errors."""
