"""Numbers as a person reads them: the same in tables, reports and messages."""

from __future__ import annotations

import math


def number(value: float) -> str:
    """A measured value: three significant digits, thousands apart, no exponent down to a millionth."""
    if not math.isfinite(value):
        return "nan" if math.isnan(value) else "infinite"
    rounded = float(f"{value:.3g}")
    if not rounded:
        return "0"
    digits = max(0, 2 - math.floor(math.log10(abs(rounded)) + 1e-9))
    text = f"{rounded:,.{digits}f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def asked(value: float) -> str:
    """A value that a person gave: all its digits, thousands apart, no exponent."""
    text = f"{round(value, 6):,f}"
    return text.rstrip("0").rstrip(".")


def milliseconds(seconds: float) -> str:
    """A measured time, with its unit."""
    return f"{number(1000 * seconds)} ms"


def asked_ms(seconds: float) -> str:
    """A time that a person gave, in milliseconds with its unit."""
    return f"{asked(1000 * seconds)} ms"


def count(of: int, what: str, several: str = "") -> str:
    """1 run, 2 runs, 1,234 replies. `several`: where it is not `what` with an s."""
    return f"{of:,} {what if of == 1 else several or what + 's'}"


def share(some: float, of: float) -> str:
    """A share in percent; of nothing, a dash. 100 % and 0 % are said only of all and none."""
    if not of:
        return "-"
    percent = 100 * some / of
    if 99.95 <= percent < 100:
        return "above 99.9 %"
    return f"{number(percent)} %"
