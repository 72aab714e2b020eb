"""The command that asks how many layers can go, and the picture that it draws."""
