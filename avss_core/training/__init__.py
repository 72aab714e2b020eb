"""One training engine, and its uses: healing, mitigation and the controls of the mitigation."""
