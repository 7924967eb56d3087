"""Durations drawn from a known distribution give the knee of theory, and what is said of it follows."""

import math
from array import array
from random import Random
from xml.etree import ElementTree

import pytest

from reportsim.benchmark.endpoint.capacity import CapacityError, Endpoint, estimate_capacity, fit_lognormal
from reportsim.benchmark.endpoint.words import advice, capacity_plot, headline
from reportsim.benchmark.theory.erlang import allen_cunneen, mmc
from reportsim.core.observed_service_time import Distribution, ObservedServiceTime
from reportsim.core.service_time import ServiceTime
from tests.benchmark.endpoint.short_runs import shorten_runs


@pytest.fixture
def short_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    shorten_runs(monkeypatch)


def observe(service: ServiceTime, count: int = 20_000) -> ObservedServiceTime:
    return ObservedServiceTime(array("d", sorted(service.draws_s(count, Random(1)))))


def theory_knee(service: ServiceTime, workers: int, timeout_s: float) -> float:
    """The rate at which 1 % time out in the steady state, by bisection."""
    low, high = 0.0, workers / service.mean_s
    for _ in range(40):
        rate = (low + high) / 2
        theory = mmc(rate, service.mean_s, workers) if service.exponential else allen_cunneen(rate, service, workers)
        share = theory.p_timeout(timeout_s)
        assert share is not None
        low, high = (rate, high) if share <= 0.01 else (low, rate)
    return low


EXPONENTIAL = ServiceTime({"distribution": "exponential", "mean_ms": 180})
LOGNORMAL = fit_lognormal(0.12, 0.6)


@pytest.mark.parametrize(
    ("service", "workers", "timeout_s"), [(EXPONENTIAL, 4, 1.0), (LOGNORMAL, 8, 1.5), (EXPONENTIAL, 1, 2.0)]
)
def test_observed_durations_give_the_knee_of_theory(service: ServiceTime, workers: int, timeout_s: float) -> None:
    found = estimate_capacity(Endpoint(service=observe(service), workers=workers, timeout_s=timeout_s))
    assert found.knee == pytest.approx(theory_knee(service, workers, timeout_s), rel=0.06)
    assert found.sweep.points[0].timeout_share <= 0.01 < found.sweep.points[-1].timeout_share


@pytest.mark.usefixtures("short_runs")
@pytest.mark.parametrize("rate", [None, 4.0, 15.0, 25.0])
def test_the_shown_range_is_that_around_the_knee_and_the_rate_that_was_given(rate: float | None) -> None:
    found = estimate_capacity(Endpoint(service=EXPONENTIAL, workers=4, timeout_s=0.9, rate=rate))
    values = [point.value for point in found.sweep.points]
    assert found.knee is not None
    assert found.knee < 0.8 * found.endpoint.saturation
    assert values == sorted(values)
    assert values[0] == pytest.approx(min(0.5 * found.knee, 0.9 * (rate or math.inf)))
    assert values[-1] == pytest.approx(max(1.3 * found.knee, 1.1 * (rate or 0.0)))
    assert sum(value > found.knee for value in values) >= 3
    assert found.sweep.break_even in values


def test_what_each_pattern_needs_at_a_rate() -> None:
    found = estimate_capacity(Endpoint(service=EXPONENTIAL, workers=4, timeout_s=1.0, rate=21.5))
    needed = found.at_rate
    assert needed is not None
    # 3.87 workers are busy on average; the steady state of M/M/c says with how many 1 % time out at most.
    assert needed.async_workers == 4
    assert needed.sync_workers == next(
        workers
        for workers in range(4, 20)
        if mmc(21.5, 0.18, workers).p_timeout(1.0) <= 0.01  # type: ignore[operator]
    )
    assert needed.timeout_share > 0.3
    assert needed.async_p99_s > 1
    assert headline(found).startswith("Your endpoint begins to time out at 16 requests/s with 4 workers")
    assert f"Sync needs {needed.sync_workers} workers there. Async needs 4:" in advice(found)
    plot = capacity_plot(found)
    ElementTree.fromstring(plot)
    assert "knee 16/s" in plot
    assert "yours 21.5/s" in plot


@pytest.mark.usefixtures("short_runs")
def test_an_endpoint_that_is_too_slow_alone_times_out_at_any_rate() -> None:
    found = estimate_capacity(Endpoint(service=EXPONENTIAL, workers=4, timeout_s=0.5, rate=5))
    assert found.knee is None
    assert headline(found).startswith("Your endpoint times out at any rate: 6.2 % of the requests take longer")
    assert "No number of workers makes sync fit; async needs 1 worker" in advice(found)


@pytest.mark.usefixtures("short_runs")
def test_beyond_saturation_all_time_out_in_the_end() -> None:
    service = ServiceTime({"distribution": "fixed", "mean_ms": 10})
    found = estimate_capacity(Endpoint(service=service, workers=2, timeout_s=600, rate=400))
    assert found.knee == found.endpoint.saturation == 200
    assert "At 400 requests/s more arrives than 2 workers can do" in advice(found)
    assert "Sync needs 5 workers there. Async needs 5" in advice(found)


def test_a_lognormal_distribution_has_the_percentiles_it_was_made_from() -> None:
    service = fit_lognormal(0.12, 0.9)
    assert service.quantile_s(0.5) == pytest.approx(0.12)
    assert service.quantile_s(0.99) == pytest.approx(0.9)
    assert fit_lognormal(0.2, 0.2).mean_s == pytest.approx(0.2)


@pytest.mark.parametrize(("p50_s", "p99_s"), [(0.0, 1.0), (-1.0, 1.0), (1.0, 0.5), (math.nan, 1.0), (0.001, 60.0)])
def test_what_are_no_percentiles_is_refused(p50_s: float, p99_s: float) -> None:
    with pytest.raises(CapacityError):
        fit_lognormal(p50_s, p99_s)


@pytest.mark.parametrize("service", [EXPONENTIAL, observe(EXPONENTIAL, 100)])
def test_a_rate_that_keeps_too_many_workers_busy_is_refused(service: Distribution) -> None:
    with pytest.raises(CapacityError, match="at most 1,000"):
        Endpoint(service=service, workers=1, timeout_s=1, rate=1e5)
