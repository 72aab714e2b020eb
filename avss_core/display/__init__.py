"""How far a long step is: a bar at a terminal, plain lines elsewhere."""
