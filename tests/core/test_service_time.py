"""Draws on demand: the same from the same seed, within their bounds, and distributed as asked for."""

import math
import statistics
from random import Random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reportsim.core.service_time import draw, draw_service_ms

SEEDS = st.integers(0, 2**31 - 1)
TIMES = st.one_of(st.integers(0, 60_000), st.floats(0, 60_000))
SHARES = st.one_of(st.integers(0, 1), st.floats(0, 1))

FIXED = st.fixed_dictionaries({"distribution": st.just("fixed"), "mean_ms": TIMES})
EXPONENTIAL = st.fixed_dictionaries({"distribution": st.just("exponential"), "mean_ms": TIMES})
UNIFORM = st.tuples(TIMES, TIMES).map(
    lambda ends: {"distribution": "uniform", "min_ms": min(ends), "max_ms": max(ends)}
)
LOGNORMAL = st.fixed_dictionaries(
    {"distribution": st.just("lognormal"), "median_ms": TIMES, "sigma": st.floats(0, 10), "max_ms": TIMES}
)
BIMODAL = st.fixed_dictionaries(
    {"distribution": st.just("bimodal"), "fast_ms": TIMES, "slow_ms": TIMES, "slow_share": SHARES}
)
SERVICES = st.one_of(FIXED, EXPONENTIAL, UNIFORM, LOGNORMAL, BIMODAL)


def bounds(service: dict[str, Any]) -> tuple[float, float]:
    match service["distribution"]:
        case "fixed":
            return service["mean_ms"], service["mean_ms"]
        case "uniform":
            return service["min_ms"], service["max_ms"]
        case "lognormal":
            return 0, service["max_ms"]
        case "bimodal":
            return min(service["fast_ms"], service["slow_ms"]), max(service["fast_ms"], service["slow_ms"])
        case _:
            return 0, math.inf


def times(service: dict[str, Any], count: int = 4_000) -> list[float]:
    return [draw({"seed": seed, "service_time": service}).service_s * 1000 for seed in range(count)]


@given(SEEDS, SERVICES, SHARES)
def test_the_same_seed_is_the_same_execution(seed: int, service: dict[str, Any], rate: float) -> None:
    simulate = {"seed": seed, "service_time": service, "failure_rate": rate}
    assert draw(simulate) == draw(dict(reversed(simulate.items())))


@given(SEEDS, SERVICES)
def test_a_service_time_is_within_its_bounds(seed: int, service: dict[str, Any]) -> None:
    low, high = bounds(service)
    drawn = draw_service_ms(service, Random(seed))
    assert math.isfinite(drawn)
    assert low <= drawn <= high or drawn == pytest.approx(low) or drawn == pytest.approx(high)


@given(SEEDS, SERVICES)
def test_no_slot_is_held_for_longer_than_a_minute(seed: int, service: dict[str, Any]) -> None:
    assert 0 <= draw({"seed": seed, "service_time": service}).service_s <= 60


@given(SEEDS)
def test_without_a_service_time_the_slot_is_held_for_the_report_alone(seed: int) -> None:
    assert draw({"seed": seed}).service_s == 0


@given(SEEDS, st.none() | SERVICES)
def test_a_rate_of_zero_never_fails_and_of_one_always(seed: int, service: dict[str, Any] | None) -> None:
    simulate = {"seed": seed} | ({"service_time": service} if service else {})
    assert not draw(simulate).fails
    assert not draw({**simulate, "failure_rate": 0}).fails
    assert draw({**simulate, "failure_rate": 1}).fails


@pytest.mark.parametrize(
    ("service", "mean", "deviation"),
    [
        ({"distribution": "fixed", "mean_ms": 40}, 40, 0),
        ({"distribution": "exponential", "mean_ms": 40}, 40, 40),
        ({"distribution": "uniform", "min_ms": 10, "max_ms": 70}, 40, 60 / math.sqrt(12)),
        ({"distribution": "bimodal", "fast_ms": 10, "slow_ms": 110, "slow_share": 0.3}, 40, 100 * math.sqrt(0.21)),
        ({"distribution": "lognormal", "median_ms": 40, "sigma": 0.5, "max_ms": 60_000}, 40 * math.exp(0.125), None),
    ],
)
def test_service_times_are_distributed_as_asked_for(
    service: dict[str, Any], mean: float, deviation: float | None
) -> None:
    drawn = times(service)
    assert statistics.fmean(drawn) == pytest.approx(mean, rel=0.06)
    if deviation is not None:
        assert statistics.pstdev(drawn) == pytest.approx(deviation, rel=0.1)


def test_the_median_of_a_lognormal_is_its_parameter() -> None:
    service = {"distribution": "lognormal", "median_ms": 25, "sigma": 1.5, "max_ms": 60_000}
    assert statistics.median(times(service)) == pytest.approx(25, rel=0.1)


@pytest.mark.parametrize("rate", [0.05, 0.5, 0.9])
def test_failures_are_as_frequent_as_asked_for(rate: float) -> None:
    fails = [draw({"seed": seed, "failure_rate": rate}).fails for seed in range(4_000)]
    assert statistics.fmean(fails) == pytest.approx(rate, abs=0.03)


def test_neighbouring_seeds_are_independent() -> None:
    drawn = times({"distribution": "uniform", "min_ms": 0, "max_ms": 1})
    assert abs(statistics.correlation(drawn[:-1], drawn[1:])) < 0.06
