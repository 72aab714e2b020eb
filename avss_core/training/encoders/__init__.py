"""Training of encoders: what they read, and the loss by which they heal."""
