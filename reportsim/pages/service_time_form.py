"""Service times as forms have them: a shape, a mean, and at most one figure more."""

import math
from typing import Any, Final

from reportsim.core.service_time import LONGEST_MS

DISTRIBUTIONS: Final = ("fixed", "exponential", "lognormal", "bimodal")
LARGEST_SIGMA: Final = 10
# How much longer the slow ones of a bimodal distribution take.
SLOWER: Final = 6


def service_time(distribution: str, *, mean_ms: Any, sigma: Any, slow_share: Any) -> dict[str, Any]:
    """The distribution as the API has it; its mean is the same whatever its shape, but for what is cut off.

    What is out of its bounds, or no number at all, is passed on for the schema to refuse.
    """
    if distribution == "lognormal":
        valid = is_within(mean_ms, LONGEST_MS) and is_within(sigma, LARGEST_SIGMA)
        median_ms = round(mean_ms / math.exp(sigma**2 / 2), 3) if valid else mean_ms
        return {"distribution": distribution, "median_ms": median_ms, "sigma": sigma, "max_ms": LONGEST_MS}
    if distribution == "bimodal":
        valid = is_within(mean_ms, LONGEST_MS) and is_within(slow_share, 1)
        fast_ms = round(mean_ms / (1 + (SLOWER - 1) * slow_share), 3) if valid else mean_ms
        slow_ms = SLOWER * fast_ms if valid else mean_ms
        return {"distribution": distribution, "fast_ms": fast_ms, "slow_ms": slow_ms, "slow_share": slow_share}
    return {"distribution": distribution, "mean_ms": mean_ms}


def is_within(value: Any, most: float) -> bool:
    """Whether a value is a number from 0 to a bound."""
    return isinstance(value, int | float) and 0 <= value <= most
