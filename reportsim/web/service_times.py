"""Service times as forms have them: a shape, a mean, and at most one figure more."""

import math
from typing import Any, Final

from reportsim.engine.simulate import LONGEST_MS

DISTRIBUTIONS: Final = ("fixed", "exponential", "lognormal", "bimodal")
# How much longer the slow ones of a bimodal distribution take.
SLOWER: Final = 6


def service_time(distribution: str, *, mean_ms: Any, sigma: Any, slow_share: Any) -> dict[str, Any]:
    """The distribution as the API has it; its mean is the same whatever its shape, but for what is cut off.

    What is no number is passed on, for the schema to refuse.
    """
    numbers = all(isinstance(value, int | float) for value in (mean_ms, sigma, slow_share))
    if distribution == "lognormal":
        median_ms = round(mean_ms / math.exp(min(sigma, 10) ** 2 / 2), 3) if numbers else mean_ms
        return {"distribution": distribution, "median_ms": median_ms, "sigma": sigma, "max_ms": LONGEST_MS}
    if distribution == "bimodal":
        fast_ms = round(mean_ms / (1 + (SLOWER - 1) * abs(slow_share)), 3) if numbers else mean_ms
        slow_ms = SLOWER * fast_ms if numbers else mean_ms
        return {"distribution": distribution, "fast_ms": fast_ms, "slow_ms": slow_ms, "slow_share": slow_share}
    return {"distribution": distribution, "mean_ms": mean_ms}
