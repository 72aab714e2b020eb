"""Which layers behave differently on hallucinated answers: the activation dump and EAVSS."""
