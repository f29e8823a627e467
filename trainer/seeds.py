"""The randomness of a step as a function of the run's seed and the step, so that nothing of it needs to be saved."""

from __future__ import annotations

import numpy as np
import torch
from torch import Generator


def step_seed(seed: int, step: int, *more: int) -> int:
    """A seed of 64 bits; other arguments give an unrelated one."""
    # As a spawn key: numpy fills a short list of numbers up with zeros, so [seed, step, 0] would be [seed, step].
    return int(np.random.SeedSequence([seed, step], spawn_key=more).generate_state(1, np.uint64)[0])


def step_generator(device: torch.device, seed: int, step: int) -> Generator:
    """A generator for the random choices of one step, the same on every process."""
    return Generator(device).manual_seed(step_seed(seed, step))
