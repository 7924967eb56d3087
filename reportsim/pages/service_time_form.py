"""Service times in forms: a distribution, its mean, and at most one more parameter."""

import math
from typing import Any, Final

from reportsim.core.service_time import LONGEST_MS

DISTRIBUTIONS: Final = ("fixed", "exponential", "lognormal", "bimodal")
LARGEST_SIGMA: Final = 10
# How many times longer slow requests of a bimodal distribution take.
SLOW_FACTOR: Final = 6


def service_time(distribution: str, *, mean_ms: Any, sigma: Any, slow_share: Any) -> dict[str, Any]:
    """The distribution as in the API; all have the same mean, apart from truncation.

    Values that are out of bounds or not numbers are passed on, so that the schema refuses them.
    """
    if distribution == "lognormal":
        valid = is_within(mean_ms, LONGEST_MS) and is_within(sigma, LARGEST_SIGMA)
        median_ms = round(mean_ms / math.exp(sigma**2 / 2), 3) if valid else mean_ms
        return {"distribution": distribution, "median_ms": median_ms, "sigma": sigma, "max_ms": LONGEST_MS}
    if distribution == "bimodal":
        valid = is_within(mean_ms, LONGEST_MS) and is_within(slow_share, 1)
        fast_ms = round(mean_ms / (1 + (SLOW_FACTOR - 1) * slow_share), 3) if valid else mean_ms
        slow_ms = SLOW_FACTOR * fast_ms if valid else mean_ms
        return {"distribution": distribution, "fast_ms": fast_ms, "slow_ms": slow_ms, "slow_share": slow_share}
    return {"distribution": distribution, "mean_ms": mean_ms}


def is_within(value: Any, most: float) -> bool:
    """Whether a value is a number from 0 to a bound."""
    return isinstance(value, int | float) and 0 <= value <= most
