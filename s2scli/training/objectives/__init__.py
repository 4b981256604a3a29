"""Training objectives: what a model is trained for."""
