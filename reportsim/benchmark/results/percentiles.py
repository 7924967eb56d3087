"""Percentiles over all that were offered, with intervals that need no assumption but independence.

The q-quantile lies between the l-th and the u-th smallest of n observations with a probability that only the binomial
distribution of n and q decides (order statistics; H. A. David and H. N. Nagaraja). Where no such u ≤ n exists, n is too
small to say anything, and nothing is said. Queue waits depend on each other, so that the real interval is wider.
"""

import functools
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

LEVELS: Final[Mapping[str, float]] = {"p50": 0.5, "p90": 0.9, "p95": 0.95, "p99": 0.99, "p99_9": 0.999}
OUTSIDE: Final = 0.025
"""The probability that the quantile is below the interval, and that it is above it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Percentile:
    """One percentile in milliseconds; no value: n is too small for an interval; no high: it has no upper bound."""

    value: float | None
    low: float | None
    high: float | None
    n: int
    censored: bool = False
    """The value is a lower bound: the percentile falls on requests whose result never came."""

    def as_json(self) -> dict[str, Any]:
        """The percentile as the API has it."""
        return {
            "value": rounded(self.value),
            "low": rounded(self.low),
            "high": rounded(self.high),
            "n": self.n,
            "censored": self.censored,
        }


def rounded(value: float | None) -> float | None:
    """Milliseconds to the microsecond."""
    return None if value is None else round(value, 3)


def rank(count: int, share: float) -> int:
    """Which observation, counted from 1, is the percentile: the smallest that this share does not exceed."""
    return max(math.ceil(round(count * share, 9)), 1)


@functools.cache
def needed(share: float) -> int:
    """The smallest n for which the interval of this percentile has an upper end."""
    return math.ceil(math.log(OUTSIDE) / math.log(max(share, 1 - share)))


@functools.lru_cache(1024)
def interval(count: int, share: float) -> tuple[int, int] | None:
    """The ranks, counted from 1, between which the quantile lies with 95 %; None when n is too small."""
    if count < needed(share):
        return None
    spread = math.sqrt(count * share * (1 - share))
    start = max(int(count * share - 9 * spread) - 1, 0)
    below, low = 0.0, 0
    odds = share / (1 - share)
    log_start = math.lgamma(count + 1) - math.lgamma(start + 1) - math.lgamma(count - start + 1)
    chance = math.exp(log_start + start * math.log(share) + (count - start) * math.log1p(-share))
    for successes in range(start, count + 1):
        # `below` is P(fewer than `successes` of the n are below the quantile).
        if below <= OUTSIDE:
            low = successes
        if 1 - below <= OUTSIDE:
            return max(low, 1), successes
        below += chance
        chance *= odds * (count - successes) / (successes + 1)
    return max(low, 1), count


def percentile(ordered: "list[float]", count: int, share: float, bound: float) -> Percentile:
    """One percentile of `count` requests, of which `ordered` are the resolved ones in ascending milliseconds.

    The others are longer than all of these, and at least as long as `bound`.
    """
    ranks = interval(count, share)
    if ranks is None:
        return Percentile(value=None, low=None, high=None, n=count)
    at, (low, high) = rank(count, share), ranks
    longest = max(bound, ordered[-1] if ordered else 0.0)
    return Percentile(
        value=ordered[at - 1] if at <= len(ordered) else longest,
        low=ordered[low - 1] if low <= len(ordered) else longest,
        high=ordered[high - 1] if high <= len(ordered) else None,
        n=count,
        censored=at > len(ordered),
    )


def percentiles(times_ms: Iterable[float], bound_ms: float = 0.0) -> dict[str, Percentile]:
    """All levels and the maximum of some times; infinite ones never came and are at least `bound_ms` long."""
    times = sorted(times_ms)
    count = len(times)
    while times and times[-1] == math.inf:
        times.pop()
    found = {level: percentile(times, count, share, bound_ms) for level, share in LEVELS.items()}
    return found | {"max": maximum(times, count, bound_ms)}


def maximum(ordered: "list[float]", count: int, bound: float) -> Percentile:
    """The largest observation, which has no interval."""
    if not count:
        return Percentile(value=None, low=None, high=None, n=0)
    unresolved = len(ordered) < count
    largest = ordered[-1] if ordered else 0.0
    value = max(bound, largest) if unresolved else largest
    return Percentile(value=value, low=value, high=None if unresolved else value, n=count, censored=unresolved)
