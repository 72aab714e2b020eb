"""What every training of the pipeline shares, and the controls of the mitigation."""
