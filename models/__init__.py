"""Networks, parametrisations, the jump and checkpoints."""
