"""Distributions of service times: their moments, quantiles and draws say the same."""

import math
import statistics
from random import Random
from typing import Any

import pytest

from reportsim.core.service_time import ServiceTime

LONGEST = 60_000.0
CASES: list[dict[str, Any]] = [
    {"distribution": "fixed", "mean_ms": 40},
    {"distribution": "exponential", "mean_ms": 40},
    {"distribution": "exponential", "mean_ms": 40_000},
    {"distribution": "uniform", "min_ms": 10, "max_ms": 70},
    {"distribution": "lognormal", "median_ms": 40, "sigma": 0.6, "max_ms": 60_000},
    {"distribution": "lognormal", "median_ms": 40, "sigma": 1.5, "max_ms": 90},
    {"distribution": "lognormal", "median_ms": 40, "sigma": 0, "max_ms": 30},
    {"distribution": "bimodal", "fast_ms": 10, "slow_ms": 500, "slow_share": 0.2},
    {"distribution": "bimodal", "fast_ms": 500, "slow_ms": 10, "slow_share": 0.2},
]


@pytest.mark.parametrize("parameters", CASES, ids=str)
def test_moments_are_those_of_the_quantiles(parameters: dict[str, Any]) -> None:
    service = ServiceTime(parameters, LONGEST)
    points = [service.quantile_s((k + 0.5) / 100_000) for k in range(100_000)]
    assert points == sorted(points)
    assert service.mean_s == pytest.approx(statistics.fmean(points), rel=2e-3)
    spread = statistics.pvariance(points) / service.mean_s**2
    assert service.scv == pytest.approx(spread, rel=0.01, abs=1e-9)


@pytest.mark.parametrize("parameters", CASES, ids=str)
def test_draws_are_distributed_like_the_quantiles(parameters: dict[str, Any]) -> None:
    service = ServiceTime(parameters, LONGEST)
    source = Random(5)
    drawn = sorted(service.draw_s(source) for _ in range(20_000))
    assert drawn[-1] <= LONGEST / 1000
    assert statistics.fmean(drawn) == pytest.approx(service.mean_s, rel=0.05)
    if parameters["distribution"] != "bimodal":
        for share in (0.1, 0.5, 0.9):
            assert drawn[round(share * 20_000)] == pytest.approx(service.quantile_s(share), rel=0.06)


@pytest.mark.parametrize("parameters", [None, *CASES], ids=str)
def test_many_draws_are_distributed_like_single_ones(parameters: dict[str, Any] | None) -> None:
    service = ServiceTime(parameters, LONGEST)
    drawn = service.draws_s(20_000, Random(3))
    assert len(drawn) == 20_000
    assert max(drawn) <= LONGEST / 1000
    assert statistics.fmean(drawn) == pytest.approx(service.mean_s, rel=0.05)


def test_unbounded_distributions_have_the_textbook_moments() -> None:
    exponential = ServiceTime({"distribution": "exponential", "mean_ms": 250})
    assert (exponential.mean_s, exponential.scv) == (0.25, 1.0)
    lognormal = ServiceTime({"distribution": "lognormal", "median_ms": 100, "sigma": 1, "max_ms": math.inf})
    assert lognormal.mean_s == pytest.approx(0.1 * math.exp(0.5))
    assert lognormal.scv == pytest.approx(math.e - 1)


@pytest.mark.parametrize(
    "parameters",
    [None, *({**case, **dict.fromkeys(set(case) - {"distribution", "sigma", "slow_share"}, 0)} for case in CASES)],
    ids=str,
)
def test_no_time_at_all_is_no_division_by_zero(parameters: dict[str, Any] | None) -> None:
    service = ServiceTime(parameters, LONGEST)
    assert (service.mean_s, service.scv, service.quantile_s(0.5), service.draw_s(Random(1))) == (0, 0, 0, 0)
    assert not service.exponential


@pytest.mark.parametrize(("mean", "theory"), [(1_000, True), (6_000, True), (20_000, False)])
def test_an_exponential_that_is_cut_off_is_none(mean: float, theory: bool) -> None:
    assert ServiceTime({"distribution": "exponential", "mean_ms": mean}, LONGEST).exponential is theory
