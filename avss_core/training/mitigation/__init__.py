"""Training of prone layers: pairs of answers, the terms of the loss, and the controls of a training."""
