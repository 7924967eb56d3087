"""Both sides against each other, request by request: the same arrival, the same service time, another pattern."""

import math
import statistics
from array import array
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate
from random import Random
from typing import Any, Final

from reportsim.benchmark.plan import Plan
from reportsim.benchmark.results.percentiles import interval, rounded
from reportsim.benchmark.results.samples import Samples

Json = dict[str, Any]
RESAMPLINGS: Final = 2_000
MOST_BLOCKS: Final = 400
# With fewer values than these a bootstrap holds the mean clearly less often than it says.
FEWEST: Final = 20
# Differences that the clocks of two processes do not settle, in milliseconds.
TIE_MS: Final = 1.0


@dataclass(frozen=True, slots=True)
class Interval:
    """An estimate and its 95 % interval; None where there is too little for one."""

    value: float | None
    low: float | None
    high: float | None

    @property
    def covers_zero(self) -> bool:
        """Whether no difference at all is among what it might be."""
        return self.low is not None and self.high is not None and self.low <= 0 <= self.high

    def as_json(self) -> Json:
        """The three numbers, rounded to the microsecond."""
        return {name: rounded(getattr(self, name)) for name in ("value", "low", "high")}


def compare(plan: Plan, sync: Samples, other: Samples, results: tuple[Json, Json]) -> Json:
    """The comparison of both sides; differences are async − sync in milliseconds.

    Only requests whose result came on both sides have a difference; who has none loses against who has one.
    `results` are the two sides' results.
    """
    times = [samples.times_to_result() for samples in (sync, other)]
    differences = paired(*times)
    mean, median = bootstrap_mean(differences, plan.seed), median_interval(differences)
    return {
        "pairs": len(differences),
        "only_sync": sum(a < math.inf == b for a, b in zip(*times, strict=True)),
        "only_async": sum(b < math.inf == a for a, b in zip(*times, strict=True)),
        "neither": sum(a == b == math.inf for a, b in zip(*times, strict=True)),
        "difference_ms": {"mean": mean.as_json(), "median": median.as_json()},
        "faster": faster(*times),
        "tie_ms": TIE_MS,
        **{name: levels(*(result[name] for result in results)) for name in ("accept_ms", "time_to_result_ms")},
    }


def paired(first: "array[float]", second: "array[float]") -> "array[float]":
    """Second − first in milliseconds where both are finite, in the order of the requests."""
    return array(
        "d", (1000 * (b - a) for a, b in zip(first, second, strict=True) if not math.isinf(a) and not math.isinf(b))
    )


def faster(sync: "array[float]", other: "array[float]") -> dict[str, int]:
    """How often which side had its result first, or neither by more than the tie."""
    counts = {"sync": 0, "tie": 0, "async": 0}
    for a, b in zip(sync, other, strict=True):
        if a == b or abs(b - a) * 1000 <= TIE_MS:
            counts["tie"] += 1
        else:
            counts["sync" if a < b else "async"] += 1
    return counts


def bootstrap_mean(values: Sequence[float], seed: int) -> Interval:
    """The mean with its 95 % interval by the moving-block bootstrap (H. R. Künsch, 1989), seeded.

    Neighbours share a queue; resampling whole stretches of them keeps what they have in common.
    """
    count = len(values)
    if count < FEWEST:
        return Interval(statistics.fmean(values) if count else None, None, None)
    length = max(round(count ** (1 / 3)), math.ceil(count / MOST_BLOCKS))
    around = [0.0, *accumulate([*values, *values[:length]])]
    sums = [around[start + length] - around[start] for start in range(count)]
    blocks = max(round(count / length), 1)
    source = Random(f"{seed}/bootstrap")
    means = sorted(sum(source.choices(sums, k=blocks)) / (blocks * length) for _ in range(RESAMPLINGS))
    out = int(0.025 * RESAMPLINGS)
    return Interval(statistics.fmean(values), means[out], means[-1 - out])


def median_interval(values: Sequence[float]) -> Interval:
    """The median with the 95 % interval of the sign test."""
    ordered = sorted(values)
    ranks = interval(len(ordered), 0.5)
    if ranks is None:
        return Interval(statistics.median(ordered) if ordered else None, None, None)
    return Interval(statistics.median(ordered), ordered[ranks[0] - 1], ordered[ranks[1] - 1])


def levels(sync: Json, other: Json) -> Json:
    """Each percentile of both sides, their difference (async − sync, ms) and ratio (async / sync).

    Neither is there where a percentile is missing or only a lower bound.
    """
    table = {}
    for level, first in sync.items():
        second = other[level]
        a, b = first["value"], second["value"]
        known = a is not None and b is not None and not first["censored"] and not second["censored"]
        table[level] = {
            "sync": a,
            "async": b,
            "difference": rounded(b - a) if known else None,
            "ratio": round(b / a, 4) if known and a else None,
        }
    return table
