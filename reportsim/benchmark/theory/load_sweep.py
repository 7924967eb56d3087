"""Break-even: how much load it takes until too many sync clients time out, by the event simulation."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from random import Random
from typing import Any, Final

from reportsim.benchmark.plan import Cancel
from reportsim.benchmark.schedule import poisson_process
from reportsim.benchmark.theory.erlang import mmc
from reportsim.benchmark.theory.replications import Band, band
from reportsim.benchmark.theory.simulation import simulate
from reportsim.core.observed_service_time import Distribution

CUSTOMERS: Final = 150_000
MOST_RUNS: Final = 300
FEWEST_RUNS: Final = 10
# Points over the range where no step is given, and halvings between the two around the break-even.
POINTS: Final = 13
HALVINGS: Final = 6
VARIABLES: Final = ("rate", "timeout", "workers")


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """A sync service under load for some seconds, from empty."""

    rate: float
    service: Distribution
    workers: int
    timeout: float
    """Seconds from the arrival after which a client leaves."""
    duration_s: float = 60.0
    cancel: Cancel = Cancel.NONE
    seed: int = 1
    customers: int = CUSTOMERS
    """How many to simulate in all."""

    def vary(self, variable: str, value: float) -> "Setting":
        """The same with another rate, timeout or number of workers."""
        changed: dict[str, Any] = {variable: round(value) if variable == "workers" else value}
        return replace(self, **changed)


@dataclass(frozen=True, slots=True)
class Point:
    """A value of the variable and the time-outs at it."""

    value: float
    rho: float
    timeout_share: float
    """Of all clients in all runs."""
    spread: Band
    """Over single runs."""
    steady_share: float | None
    """The share in the steady state of M/M/c; None where there is none or it does not apply."""

    def as_json(self) -> dict[str, Any]:
        """The point as the command line prints it."""
        return {
            "value": self.value,
            "rho": self.rho,
            "timeout_share": self.timeout_share,
            "low": self.spread.low,
            "high": self.spread.high,
            "steady_share": self.steady_share,
        }


def point(setting: Setting, variable: str, value: float) -> Point:
    """Simulates one setting. The same seeds at every value make neighbours comparable."""
    there = setting.vary(variable, value)
    count = max(round(there.rate * there.duration_s), 1)
    runs = [
        count_timeouts(there, Random(f"{there.seed}/sweep/{number}"))
        for number in range(min(max(there.customers // count, FEWEST_RUNS), MOST_RUNS))
    ]
    timeouts, clients = map(sum, zip(*runs, strict=True))
    rho = there.rate * there.service.mean_s / there.workers
    steady = None
    if there.service.exponential and there.cancel is Cancel.NONE and rho < 1:
        steady = mmc(there.rate, there.service.mean_s, there.workers).p_timeout(there.timeout)
    # A run that nobody came to says nothing of those who do.
    spread = band([left / came for left, came in runs if came] or [0.0])
    share = timeouts / clients if clients else 0.0
    return Point(value, rho, share, Band(spread.value, spread.low, min(spread.high, 1.0)), steady)


def count_timeouts(setting: Setting, source: Random) -> tuple[int, int]:
    """How many clients leave without a result in one run, and how many there are."""
    arrivals = poisson_process(setting.rate, setting.duration_s, source)
    services = setting.service.draws_s(len(arrivals), source)
    deadlines = [arrival + setting.timeout for arrival in arrivals]
    flow = simulate(arrivals, services, workers=setting.workers, deadlines=deadlines, cancel=setting.cancel)
    return flow.results().count(math.inf), len(arrivals)


@dataclass(frozen=True, slots=True)
class Sweep:
    """The points of a sweep in ascending order, and where it breaks even."""

    variable: str
    share: float
    """The share of time-outs that is not to be exceeded."""
    points: tuple[Point, ...]
    break_even: float | None
    """The smallest rate that exceeds it; or the smallest timeout, or number of workers, that does not. None: none."""

    def as_json(self) -> dict[str, Any]:
        """The sweep as the command line prints it."""
        return {
            "sweep": self.variable,
            "share": self.share,
            "break_even": self.break_even,
            "points": [each.as_json() for each in self.points],
        }


def sweep(setting: Setting, variable: str, values: Sequence[float], share: float, *, refine: bool) -> Sweep:
    """Simulates every value, and, if it is to be refined, halves the step around the break-even some times."""
    points = [point(setting, variable, value) for value in values]

    def reached(there: Point) -> bool:
        exceeded = there.timeout_share > share
        return exceeded if variable == "rate" else not exceeded

    at = next((index for index, each in enumerate(points) if reached(each)), None)
    if at is None:
        return Sweep(variable, share, tuple(points), None)
    found = points[at]
    if at and refine:
        between = halve(lambda value: point(setting, variable, value), points[at - 1], found, reached, variable)
        points += between
        found = min((each for each in [found, *between] if reached(each)), key=lambda each: each.value)
    return Sweep(variable, share, tuple(sorted(points, key=lambda each: each.value)), found.value)


def halve(
    try_value: Callable[[float], Point],
    low: Point,
    high: Point,
    reached: Callable[[Point], bool],
    variable: str,
) -> list[Point]:
    """Points between the last value that does not reach and the first one that does, closing in on the latter."""
    tried = []
    for _ in range(HALVINGS):
        value = (low.value + high.value) / 2
        if variable == "workers":
            value = math.floor(value)
            if value <= low.value:
                break
        tried.append(try_value(value))
        if reached(tried[-1]):
            high = tried[-1]
        else:
            low = tried[-1]
    return tried


def spread_values(variable: str, low: float, high: float, step: float | None) -> list[float]:
    """The values of a sweep: at the given step, or so many over the range."""
    if variable == "workers":
        step = max(step or (high - low) / (POINTS - 1), 1)
    if step is None:
        return [low + (high - low) * index / (POINTS - 1) for index in range(POINTS)]
    count = math.floor((high - low) / step + 1e-9) + 1
    values = [low + step * index for index in range(count)]
    return sorted({float(round(value)) for value in values}) if variable == "workers" else values
