"""What the objectives share: what they are given and answer, times, weights, derivatives, guidance."""
