"""What answers add up to: calibration, intervals, comparison of two models, retention, agreement."""
