"""At which rate the clients of an endpoint begin to time out, and what sync and async need at a given rate."""

import math
from array import array
from dataclasses import dataclass, replace
from random import Random
from typing import Any, Final

from reportsim.benchmark.plan import Cancel
from reportsim.benchmark.schedule import poisson_process
from reportsim.benchmark.theory.load_sweep import Setting, Sweep, point, sweep
from reportsim.benchmark.theory.simulation import simulate
from reportsim.core.observed_service_time import Distribution
from reportsim.core.service_time import STANDARD, ServiceTime

MOST_WORKERS: Final = 1_000
TOLERABLE: Final = 0.01
"""The share of time-outs at which they have begun."""
# A run is long enough to forget that it began empty, and for an overload to show: so many requests, so many for each
# worker, and so many time-outs, but no more requests than there is time for.
RUN_REQUESTS: Final = 10_000
RUN_REQUESTS_PER_WORKER: Final = 30
RUN_TIMEOUTS: Final = 20
MOST_RUN_REQUESTS: Final = 20_000
RUNS: Final = 10
CUSTOMERS: Final = 80_000
# The searched range, in parts of the rate that keeps all workers busy.
LOWEST: Final = 0.01
HIGHEST: Final = 1.2
HIGHEST_GIVEN: Final = 2.0
POINTS: Final = 9
# The shown range, in parts of the knee and of the rate that was given, and the points from the knee on.
BELOW_KNEE: Final = 0.5
BELOW_GIVEN: Final = 0.9
BEYOND_KNEE: Final = 1.3
BEYOND_GIVEN: Final = 1.1
POINTS_BEYOND: Final = 3


class CapacityError(ValueError):
    """The numbers cannot be computed with."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoint:
    """An endpoint, and the clients that wait for it."""

    service: Distribution
    workers: int
    timeout_s: float
    rate: float | None = None
    """Requests per second that it has, or will have."""
    share: float = TOLERABLE
    duration_s: float | None = None
    """Of a simulated run; None: as long as it takes to forget its start."""
    cancel: Cancel = Cancel.NONE
    seed: int = 1

    def __post_init__(self) -> None:
        if not self.service.mean_s or not math.isfinite(self.service.mean_s):
            raise CapacityError("the durations have no mean that could be computed with")
        if self.rate is not None and self.rate * self.service.mean_s > MOST_WORKERS:
            busy = self.rate * self.service.mean_s
            raise CapacityError(f"this rate keeps {busy:,.0f} workers busy: at most {MOST_WORKERS:,} are computed with")

    @property
    def saturation(self) -> float:
        """The rate at which all workers are busy all the time."""
        return self.workers / self.service.mean_s

    @property
    def too_slow(self) -> float:
        """The share of requests that take longer than the time-out, without any wait."""
        return self.service.survival(1000 * self.timeout_s)

    def setting(self, rate: float, workers: int) -> Setting:
        """What is simulated at a rate."""
        overload = min(RUN_TIMEOUTS * self.timeout_s * rate, MOST_RUN_REQUESTS)
        requests = max(RUN_REQUESTS, RUN_REQUESTS_PER_WORKER * workers, overload)
        return Setting(
            rate=rate,
            service=self.service,
            workers=workers,
            timeout=self.timeout_s,
            duration_s=self.duration_s or requests / rate,
            cancel=self.cancel,
            seed=self.seed,
            customers=CUSTOMERS,
        )


@dataclass(frozen=True, slots=True)
class AtRate:
    """What both patterns need at the rate of the endpoint."""

    rate: float
    rho: float
    """Offered load per worker."""
    timeout_share: float
    """Of sync clients, with the workers that there are."""
    sync_workers: int | None
    """The fewest with which time-outs are tolerable; None: no number of workers is enough."""
    async_workers: int
    """The fewest that keep up."""
    async_p99_s: float
    """Seconds in which 99 % of async results arrive, with these workers."""


@dataclass(frozen=True, slots=True)
class Capacity:
    """What an endpoint can take."""

    endpoint: Endpoint
    sweep: Sweep
    at_rate: AtRate | None

    @property
    def knee(self) -> float | None:
        """The rate at which time-outs begin; None where even requests that never wait time out.

        Beyond saturation all time out in the long run, even if a run is too short to show it.
        """
        if self.endpoint.too_slow > self.endpoint.share:
            return None
        return min(self.sweep.break_even or math.inf, self.endpoint.saturation)

    def as_json(self) -> dict[str, Any]:
        """The answers as the command line prints them."""
        found = self.at_rate
        names = AtRate.__dataclass_fields__
        return {
            "mean_s": self.endpoint.service.mean_s,
            **{f"p{round(100 * share)}_s": self.endpoint.service.quantile_s(share) for share in (0.5, 0.95, 0.99)},
            "saturation": self.endpoint.saturation,
            "too_slow": self.endpoint.too_slow,
            "knee": self.knee,
            "at_rate": None if found is None else {name: getattr(found, name) for name in names},
            **self.sweep.as_json(),
        }


def estimate_capacity(endpoint: Endpoint) -> Capacity:
    """Simulates the endpoint over a range of rates around its saturation; takes some seconds, deterministic."""
    saturation = endpoint.saturation
    high = max(HIGHEST * saturation, min(BEYOND_GIVEN * (endpoint.rate or 0.0), HIGHEST_GIVEN * saturation))
    low = LOWEST * saturation
    values = [low + (high - low) * index / (POINTS - 1) for index in range(POINTS)]
    found = sweep(endpoint.setting(saturation, endpoint.workers), "rate", values, endpoint.share, refine=True)
    shown = show_around_knee(endpoint, found)
    return Capacity(endpoint, shown, None if endpoint.rate is None else compare_patterns(endpoint, endpoint.rate))


def show_around_knee(endpoint: Endpoint, found: Sweep) -> Sweep:
    """The part of a sweep around the knee and the rate that was given: far from both nothing changes."""
    knee, rate = found.break_even, endpoint.rate or found.break_even
    if knee is None or rate is None or endpoint.too_slow > endpoint.share:
        return found
    first, last = found.points[0].value, found.points[-1].value
    low, high = (
        max(min(BELOW_KNEE * knee, BELOW_GIVEN * rate), first),
        min(max(BEYOND_KNEE * knee, BEYOND_GIVEN * rate), last),
    )
    setting = endpoint.setting(endpoint.saturation, endpoint.workers)
    values = (low, *(knee + (high - knee) * index / POINTS_BEYOND for index in range(1, POINTS_BEYOND + 1)))
    added = [point(setting, found.variable, value) for value in values]
    kept = [each for each in found.points if low < each.value < high]
    return replace(found, points=tuple(sorted((*kept, *added), key=lambda each: each.value)))


def compare_patterns(endpoint: Endpoint, rate: float) -> AtRate:
    """What sync and async need at a rate."""
    load = rate * endpoint.service.mean_s
    # With fewer, the queue grows without bound.
    keep_up = math.floor(load) + 1
    return AtRate(
        rate=rate,
        rho=load / endpoint.workers,
        timeout_share=timeout_share(endpoint.setting(rate, endpoint.workers)),
        sync_workers=None if endpoint.too_slow > endpoint.share else fewest_workers(endpoint, rate, keep_up),
        async_workers=keep_up,
        async_p99_s=result_percentile(endpoint.setting(rate, keep_up), 0.99),
    )


def timeout_share(setting: Setting) -> float:
    """The share of sync clients that time out."""
    return point(setting, "rate", setting.rate).timeout_share


def fewest_workers(endpoint: Endpoint, rate: float, least: int) -> int | None:
    """The fewest workers with which time-outs are tolerable, at least as many as are busy on average."""

    def is_enough(workers: int) -> bool:
        return timeout_share(endpoint.setting(rate, workers)) <= endpoint.share

    too_few, step = least - 1, 1
    while not is_enough(too_few + step):
        too_few += step
        step *= 2
        if too_few > 2 * MOST_WORKERS:
            return None
    enough = too_few + step
    while enough - too_few > 1:
        middle = (too_few + enough) // 2
        if is_enough(middle):
            enough = middle
        else:
            too_few = middle
    return enough


def result_percentile(setting: Setting, share: float) -> float:
    """The seconds in which this share of the results arrive where nobody leaves."""
    stays = array("d")
    for number in range(RUNS):
        source = Random(f"{setting.seed}/results/{number}")
        arrivals = poisson_process(setting.rate, setting.duration_s, source)
        flow = simulate(arrivals, setting.service.draws_s(len(arrivals), source), workers=setting.workers)
        stays.extend(result - arrival for result, arrival in zip(flow.results(), arrivals, strict=True))
    ordered = sorted(stays) or [0.0]
    return ordered[math.ceil(share * len(ordered)) - 1]


def fit_lognormal(p50_s: float, p99_s: float) -> ServiceTime:
    """The lognormal distribution with these two percentiles.

    Raises:
        CapacityError: They are no percentiles of one.
    """
    if not 0 < p50_s <= p99_s:
        raise CapacityError("p99 must not be below p50, and p50 must be above 0")
    sigma = math.log(p99_s / p50_s) / STANDARD.inv_cdf(0.99)
    if sigma > 3:
        raise CapacityError("p99 is more than a thousand times p50: no lognormal distribution fits that")
    return ServiceTime({"distribution": "lognormal", "median_ms": 1000 * p50_s, "sigma": sigma, "max_ms": math.inf})
