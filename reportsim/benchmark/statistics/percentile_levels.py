"""The levels at which percentiles are given, and their ranks."""

import math
from collections.abc import Mapping
from typing import Final

LEVELS: Final[Mapping[str, float]] = {"p50": 0.5, "p90": 0.9, "p95": 0.95, "p99": 0.99, "p99_9": 0.999}


def rank(count: int, share: float) -> int:
    """Which observation, counted from 1, is the percentile: the smallest that this share does not exceed."""
    return max(math.ceil(round(count * share, 9)), 1)
