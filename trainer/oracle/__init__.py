"""The closed-form truth that every objective is tested against (fp64).

For data whose noised densities are known, the marginal velocity, the flow map and the average velocity are
known too, so a test can plug the truth in for the network and demand what theory demands.

    gaussian.py       Gaussian data, isotropic or with a full covariance: everything in closed form
    mixture.py        Gaussian mixtures: velocity and densities in closed form; in 1-D the exact quantile map
    boxes.py          data uniform on boxes, such as a checkerboard: velocity in closed form
    integrate.py      the flow map of any velocity: adaptive (the reference) and differentiable
    coordinates.py    the same truth in EDM/VE and TrigFlow coordinates
    expected_loss.py  the raw loss of an objective whose network equals the truth
    fixed_points.py   where objectives with finite steps converge instead of the truth

Conventions are the project's: `t` = from, `s` = to, 1 = noise, 0 = data, order (z, t, s). z is `[..., D]` and
a time is a float or an array `[...]`. Velocities and average velocities run on NumPy arrays and on torch
tensors alike, so `torch.func.jvp` can differentiate them.
"""

from trainer.oracle.gaussian import Gaussian
from trainer.oracle.mixture import GaussianMixture

__all__ = ["Gaussian", "GaussianMixture"]
