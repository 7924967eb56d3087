"""Closed forms against textbooks and against sums in exact fractions."""

import math
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reportsim.benchmark.theory.erlang import (
    allen_cunneen,
    erlang_b,
    erlang_c,
    mmc,
    sojourn_tail,
)
from reportsim.core.service_time import ServiceTime

NEAR = 1e-9
LOADS = st.fractions(Fraction(1, 20), 40, max_denominator=50)


def fractions_b(load: Fraction, workers: int) -> Fraction:
    """Erlang's B by its definition."""
    terms = [load**n / math.factorial(n) for n in range(workers + 1)]
    return terms[-1] / sum(terms)


def fractions_c(load: Fraction, workers: int) -> Fraction:
    """Erlang's C by its definition."""
    waiting = load**workers / math.factorial(workers) * workers / (workers - load)
    return waiting / (sum(load**n / math.factorial(n) for n in range(workers)) + waiting)


@given(LOADS, st.integers(1, 40))
def test_b_is_its_definition(load: Fraction, workers: int) -> None:
    assert erlang_b(float(load), workers) == pytest.approx(float(fractions_b(load, workers)), abs=NEAR)


@given(LOADS, st.integers(1, 40))
def test_c_is_its_definition(load: Fraction, workers: int) -> None:
    expected = 1.0 if load >= workers else float(fractions_c(load, workers))
    assert erlang_c(float(load), workers) == pytest.approx(expected, abs=NEAR)


@pytest.mark.parametrize(
    ("load", "workers", "blocked"),
    [(1, 1, 0.5), (2, 2, 0.4), (5, 5, 0.2849), (10, 10, 0.2146), (4.461, 10, 0.01), (20.34, 30, 0.01)],
)
def test_b_as_tables_have_it(load: float, workers: int, blocked: float) -> None:
    assert erlang_b(load, workers) == pytest.approx(blocked, abs=5e-5)


def test_nine_arrivals_a_second_at_ten_workers() -> None:
    waiting = float(fractions_c(Fraction(9), 10))
    theory = mmc(9, 1, 10)
    assert theory.p_wait == pytest.approx(waiting, abs=NEAR)
    assert theory.mean_wait == pytest.approx(waiting, abs=NEAR)
    assert theory.mean_sojourn == pytest.approx(1 + waiting, abs=NEAR)
    assert theory.mean_in_system == pytest.approx(9 * (1 + waiting), abs=NEAR)
    # Here c − 1 = a: the tail is e^−t (1 + C t), and no division by zero.
    for t in (0.0, 0.1, 1.0, 3.0, 10.0):
        assert sojourn_tail(9, 1, 10, t) == pytest.approx(math.exp(-t) * (1 + waiting * t), abs=NEAR)
    p95 = theory.percentile(0.95)
    assert p95 is not None
    assert math.exp(-p95) * (1 + waiting * p95) == pytest.approx(0.05, abs=NEAR)


@pytest.mark.parametrize("off", [1e-3, 1e-6, 1e-9, 1e-12, 0, -1e-12, -1e-9, -1e-6, -1e-3])
def test_the_tail_is_smooth_where_its_formula_divides_by_nothing(off: float) -> None:
    there = sojourn_tail(9 + off, 1, 10, 2.5)
    assert there == pytest.approx(sojourn_tail(9, 1, 10, 2.5), abs=2 * abs(off) + 1e-12)


@given(st.floats(0.05, 0.99), st.integers(1, 30), st.floats(0.01, 5), st.floats(0, 30))
def test_the_tail_is_the_wait_and_the_service_together(rho: float, workers: int, mean: float, times: float) -> None:
    rate, t = rho * workers / mean, times * mean
    # P(W + S > t) by Simpson's rule over the service time.
    steps = 2_000
    width = t / steps
    waiting = erlang_c(rate * mean, workers)

    def density(s: float) -> float:
        """Of the service time s, with a wait of more than what is left."""
        return math.exp(-s / mean) / mean * waiting * math.exp(-(workers / mean - rate) * (t - s))

    inner = sum((4 if k % 2 else 2) * density(k * width) for k in range(1, steps))
    whole = (density(0) + inner + density(t)) * width / 3 + math.exp(-t / mean)
    assert sojourn_tail(rate, mean, workers, t) == pytest.approx(whole, abs=2e-6)


@given(st.floats(0.01, 0.999), st.floats(0.01, 10))
def test_one_worker_is_m_m_1(rho: float, mean: float) -> None:
    theory = mmc(rho / mean, mean, 1)
    assert theory.mean_sojourn == pytest.approx(mean / (1 - rho), rel=NEAR)
    assert theory.mean_in_system == pytest.approx(rho / (1 - rho), rel=1e-8)
    # The sojourn of M/M/1 is exponential.
    for share in (0.5, 0.95, 0.99):
        assert theory.percentile(share) == pytest.approx(-math.log(1 - share) * mean / (1 - rho), rel=1e-6)


@pytest.mark.parametrize(("rate", "workers"), [(10.0, 10), (12.0, 10), (1e6, 3)])
def test_overload_is_answered_sensibly(rate: float, workers: int) -> None:
    theory = mmc(rate, 1.0, workers)
    assert theory.rho == rate / workers
    assert "no steady state" in theory.model
    assert (theory.p_wait, theory.p_timeout(8.0)) == (1.0, 1.0)
    assert theory.mean_wait is theory.mean_in_system is theory.percentile(0.5) is None


@pytest.mark.parametrize("rho", [0.9, 0.99999, 1 - 1e-12])
def test_almost_saturated_queues_do_not_overflow(rho: float) -> None:
    theory = mmc(10 * rho, 1.0, 10)
    p99 = theory.percentile(0.99)
    assert p99 is not None
    assert theory.p_timeout(p99) == pytest.approx(0.01, rel=1e-6)
    assert theory.p_timeout(1e9) is not None


def test_one_worker_with_any_service_time_is_pollaczek_khinchine() -> None:
    lognormal = {"distribution": "lognormal", "median_ms": 500, "sigma": 0.8, "max_ms": math.inf}
    for parameters in ({"distribution": "fixed", "mean_ms": 700}, lognormal):
        service = ServiceTime(parameters)
        rate = 0.8 / service.mean_s
        theory = allen_cunneen(rate, service, 1)
        second_moment = service.mean_s**2 * (1 + service.scv)
        assert theory.mean_wait == pytest.approx(rate * second_moment / (2 * (1 - 0.8)), rel=NEAR)


def test_exponential_service_makes_the_approximation_exact() -> None:
    service = ServiceTime({"distribution": "exponential", "mean_ms": 1000})
    near, exact = allen_cunneen(8, service, 10), mmc(8, 1, 10)
    assert near.mean_wait == pytest.approx(exact.mean_wait, rel=NEAR)
    for share in (0.5, 0.95, 0.99):
        assert near.percentile(share) == pytest.approx(exact.percentile(share), rel=5e-3)


def test_nothing_varies_and_nobody_waits() -> None:
    theory = allen_cunneen(8, ServiceTime({"distribution": "fixed", "mean_ms": 1000}), 10, arrival_scv=0.0)
    assert (theory.p_wait, theory.mean_wait) == (0.0, 0.0)
    assert theory.percentile(0.99) == pytest.approx(1.0)
    assert theory.model.startswith("D/D/c")
