"""Grids: the list of jumps that makes a sample.

A step (t, s, a, b) jumps from t to s and then sets z <- a * z_s + b * n with fresh noise n. That puts z at
the time r = 1 - a (1 - s), where the next step must start, and on the linear path z_r = (1 - r) x0 + r x1 the
noise in it must have the std r = sqrt((a s)^2 + b^2). A flow step has a = 1, b = 0 (r = s); re-noising has s
= 0, a = 1 - r, b = r.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal, NamedTuple, get_args

Span = Literal["velocity", "endpoint", "any", "dyadic"]
"""Where a map may be asked. velocity: each jump is one Euler step. endpoint: s = 0 only. any: every s <= t.
dyadic: t - s a power of two, from 1 to 1/128, and t a multiple of it."""

SPANS: tuple[Span, ...] = get_args(Span)

DYADIC_FINEST = 128
"""The smallest step of a dyadic map is 1 / DYADIC_FINEST (Shortcut models, arXiv 2410.12557)."""

TOLERANCE = 1e-6
"""How far a grid's times may miss each other; they are read from text."""


class Step(NamedTuple):
    """One step of a sampler: jump from t to s, then z <- a * z_s + b * noise."""

    t: float
    s: float
    a: float = 1.0
    b: float = 0.0

    @property
    def arrives(self) -> float:
        """The time that z is at after the step."""
        return 1.0 - self.a * (1.0 - self.s)


Grid = tuple[Step, ...]


def flow_grid(n: int) -> Grid:
    """`n` equal jumps along the flow from t = 1 to t = 0, without added noise."""
    if n < 1:
        raise ValueError(f"a grid has at least 1 step, not {n}")
    return tuple(Step((n - i) / n, (n - i - 1) / n) for i in range(n))


def renoise_grid(times: Sequence[float]) -> Grid:
    """Multistep consistency sampling: from each time jump to 0, then re-noise to the next one.

    `times` falls from 1; after the last jump no noise is added. arXiv 2303.01469, algorithm 1, on the linear
    path: z_r = (1 - r) x0 + r n. Raises ValueError for times that do not fall or leave (0, 1].
    """
    if not times:
        raise ValueError("a grid has at least 1 step, got no times")
    ends = (*times[1:], 0.0)
    if times[0] > 1.0 or any(not r < t for t, r in zip(times, ends, strict=True)):
        raise ValueError(f"re-noising times must fall and lie in (0, 1], got {list(times)}")
    return tuple(Step(float(t), 0.0, 1.0 - r, float(r)) for t, r in zip(times, ends, strict=True))


def gamma_grid(times: Sequence[float], gamma: float) -> Grid:
    """gamma-sampling between falling times (CTM, arXiv 2310.02279, algorithm 3): part of the noise is new each time.

    To come to r, a jump leads below it, to the noise level sigma = sqrt(1 - gamma^2) r / (1 - r), and new noise of the
    level gamma r / (1 - r) brings it back. gamma = 0 is the flow, gamma = 1 re-noising. `times` begins with 1; the last
    jump leads to 0. Raises ValueError as `renoise_grid` does, and for a gamma outside [0, 1].
    """
    if not 0.0 <= gamma <= 1.0:
        raise ValueError(f"gamma={gamma:g} is not in [0, 1]: 0 is the flow, 1 is re-noising")
    steps = []
    for t, _, a, r in renoise_grid(times):
        # On the linear path sigma = t / (1 - t), so t = sigma / (1 + sigma); a = 1 - r.
        level = math.sqrt(1.0 - gamma**2) * r
        s = level / (a + level)
        steps.append(Step(t, s, a / (1.0 - s), gamma * r))
    return tuple(steps)


def variation_grid(span: Span, t_max: float, strength: float, steps: int) -> Grid:
    """`steps` jumps from t = `strength` to the data, for an image that was noised to there.

    Equal flow jumps; for the span `endpoint`, jumps to 0 with new noise at equally spaced falling times between them.
    Raises ValueError, saying what would be right, for a strength or number of steps that the map does not know.
    """
    if not 0.0 < strength <= 1.0:
        raise ValueError(f"strength={strength:g} is not in (0, 1]: 0 is the image itself, 1 is noise alone")
    if steps < 1:
        raise ValueError(f"a grid has at least 1 step, not {steps}")
    if t_max < strength < 1.0:
        raise ValueError(f"strength={strength:g}: the map knows no time between t_max={t_max:g} and 1")
    times = [strength, *(strength * (steps - i) / steps for i in range(1, steps))]
    if span == "endpoint":
        grid = renoise_grid(times)
    else:
        grid = tuple(Step(t, s) for t, s in zip(times, (*times[1:], 0.0), strict=True))
    try:
        for step in grid:
            check_jump(step.t, step.s, span, t_max)
    except ValueError as error:
        if span != "dyadic":
            raise ValueError(f"strength={strength:g} in {steps} steps: {error}") from None
        halvings = range(math.ceil(math.log2(steps)), int(math.log2(DYADIC_FINEST)) + 1)
        known = ", ".join(f"{steps / 2**k:g}" for k in halvings)
        right = f"strengths for steps={steps} are {known}" if known else f"at most {DYADIC_FINEST} steps do"
        raise ValueError(f"strength={strength:g} in {steps} equal steps leaves the dyadic grid; {right}") from None
    return grid


def check_jump(t: float, s: float, span: Span, t_max: float = 1.0) -> None:
    """Raise ValueError if a map with this span may not be asked for the jump from t to s.

    t = 1 is always allowed, with z ~ N(0, I): a map of other coordinates clamps inside. Below 1, t may not
    exceed `t_max`, the largest time the map was trained at.
    """
    if not 0.0 <= s <= t <= 1.0:
        raise ValueError(f"the jump from t={t:g} to s={s:g} is not one from a time in [0, 1] to an earlier one")
    if t_max < t < 1.0:
        raise ValueError(f"the jump starts at t={t:g}, but the map knows no time between t_max={t_max:g} and 1")
    if span == "endpoint" and s != 0.0:
        raise ValueError(f"the jump from t={t:g} to s={s:g} is outside the span 'endpoint' (s=0 only)")
    if span == "dyadic":
        level = -math.log2(t - s) if t > s else math.inf
        whole = level.is_integer() and 0 <= level <= math.log2(DYADIC_FINEST)
        if not whole or not (t / (t - s)).is_integer():
            raise ValueError(
                f"the jump from t={t:g} to s={s:g} is outside the span 'dyadic' (t - s one of 1, 1/2, ..., "
                f"1/{DYADIC_FINEST} and t a multiple of it)"
            )


def check_grid(grid: Sequence[Step], span: Span, t_max: float = 1.0) -> None:
    """Raise ValueError, naming the jump, if a grid leaves the span or does not lead from noise to data."""
    if span not in SPANS:
        raise ValueError(f"unknown span {span!r}; spans are {', '.join(SPANS)}")
    if not grid:
        raise ValueError("a grid has at least 1 step, got none")
    time = 1.0
    for number, step in enumerate(grid, start=1):
        where = f"step {number} of {len(grid)} {tuple(step)}"
        if not all(math.isfinite(value) for value in step):
            raise ValueError(f"{where}: t, s, a and b must be finite numbers")
        try:
            check_jump(step.t, step.s, span, t_max)
        except ValueError as error:
            raise ValueError(f"{where}: {error}") from None
        if abs(step.t - time) > TOLERANCE:
            raise ValueError(f"{where}: z is at t={time:g} here, the jump must start there")
        time = step.arrives
        if abs(math.hypot(step.a * step.s, step.b) - time) > TOLERANCE:
            raise ValueError(
                f"{where}: a={step.a:g} leads to t={time:g}, where the noise must have std {time:g}, but "
                f"a*s and b make {math.hypot(step.a * step.s, step.b):g}"
            )
    if abs(time) > TOLERANCE:
        raise ValueError(f"the grid ends at t={time:g}, not at the data (t=0)")
