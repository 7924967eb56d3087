"""Numbers as sentences have them."""

import math


def percent(share: float) -> str:
    """A share in whole percent, or with a digit more where it is small."""
    if 0 < share < 0.001:
        return "<0.1 %"
    value = 100 * share
    return f"{value:.1f} %" if 0 < value < 9.95 and round(value, 1) % 1 else f"{value:.0f} %"


def duration(seconds: float) -> str:
    """A time in the unit that suits it, with three digits."""
    if math.isinf(seconds):
        return "unbounded"
    size = abs(seconds)
    if size < 0.9995:
        return f"{three(1000 * seconds)} ms"
    return f"{three(seconds)} s" if size < 1_000 else f"{seconds:,.0f} s"


def three(value: float) -> str:
    """A number with three digits, none of them a trailing zero behind the point."""
    if not value:
        return "0"
    digits = max(2 - math.floor(math.log10(abs(value))), 0)
    text = f"{value:,.{min(digits, 3)}f}"
    return (text.rstrip("0").rstrip(".") if "." in text else text).replace("-", "−")
