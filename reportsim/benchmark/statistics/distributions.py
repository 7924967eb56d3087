"""Quantiles of Student's t and of the beta distribution, and the Clopper-Pearson interval for a share.

The regularised incomplete beta function is computed by its continued fraction (DLMF 8.17.22) with the method of Lentz;
quantiles are found by bisection, which is exact to about 1e-12 and fast enough for what is cached.
"""

import functools
import math
from typing import Final

TAIL: Final = 0.025
"""The probability left out on either side of a 95 % interval."""
ITERATIONS: Final = 500
BISECTIONS: Final = 60
PRECISION: Final = 1e-14
SMALLEST: Final = 1e-300


def incomplete_beta(a: float, b: float, x: float) -> float:
    """The regularised incomplete beta function I_x(a, b) for a, b > 0."""
    if x <= 0:
        return 0.0
    if x >= 1:
        return 1.0
    log_front = math.lgamma(a + b) - math.lgamma(a) - math.lgamma(b) + a * math.log(x) + b * math.log1p(-x)
    front = math.exp(log_front)
    if x < (a + 1) / (a + b + 2):
        return front * _continued_fraction(a, b, x) / a
    return 1 - front * _continued_fraction(b, a, 1 - x) / b


def _continued_fraction(a: float, b: float, x: float) -> float:
    c, d = 1.0, _invert(1 - (a + b) * x / (a + 1))
    value = d
    for m in range(1, ITERATIONS):
        even = m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m))
        odd = -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1))
        for term in (even, odd):
            d = _invert(1 + term * d)
            c = 1 + term / c
            c = c if abs(c) > SMALLEST else SMALLEST
            value *= c * d
        if abs(c * d - 1) < PRECISION:
            break
    return value


def _invert(value: float) -> float:
    return 1 / (value if abs(value) > SMALLEST else SMALLEST)


@functools.lru_cache(4096)
def beta_quantile(probability: float, a: float, b: float) -> float:
    """The x at which I_x(a, b) is `probability`."""
    low, high = 0.0, 1.0
    for _ in range(BISECTIONS):
        middle = (low + high) / 2
        if incomplete_beta(a, b, middle) < probability:
            low = middle
        else:
            high = middle
    return (low + high) / 2


@functools.lru_cache(1024)
def student_t(degrees: int, tail: float = TAIL) -> float:
    """The quantile of Student's t distribution above which a share of `tail` lies."""
    x = beta_quantile(2 * tail, degrees / 2, 0.5)
    return math.sqrt(degrees * (1 - x) / x)


def clopper_pearson(events: float, count: float) -> tuple[float, float]:
    """The 95 % Clopper-Pearson interval for a share; both numbers may be effective ones, which are not whole."""
    low = beta_quantile(TAIL, events, count - events + 1) if events > 0 else 0.0
    high = beta_quantile(1 - TAIL, events + 1, count - events) if events < count else 1.0
    return low, high
