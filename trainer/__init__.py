"""Training: objectives, data, the loop, recipes and the closed-form oracle."""
