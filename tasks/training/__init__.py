"""What all trainings share, and the controls of the mitigation."""
