"""Bounded systems and impatience: against exact sums, numerical integrals and their limits."""

import math
from collections.abc import Callable
from decimal import Decimal, getcontext
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reportsim.benchmark.theory.erlang import erlang_b, mmc
from reportsim.benchmark.theory.finite_and_abandonment import (
    exponential_area,
    exponential_moment,
    fixed_patience,
    markov,
)
from reportsim.benchmark.theory.model_result import Theory

NEAR = 1e-9


def fractions(load: Fraction, workers: int, capacity: int) -> list[Fraction]:
    """The steady state of M/M/c/K."""
    weights = [Fraction(1)]
    for n in range(1, capacity + 1):
        weights.append(weights[-1] * load / min(n, workers))
    return [weight / sum(weights) for weight in weights]


def erlang_tail(k: int, rate: float, t: float) -> float:
    """P(sum of k exponentials > t)."""
    return math.exp(-rate * t) * sum((rate * t) ** j / math.factorial(j) for j in range(k))


def little_holds(theory: Theory, rate: float) -> None:
    assert theory.mean_in_system is not None
    assert theory.mean_sojourn is not None
    assert theory.mean_in_system == pytest.approx(rate * (1 - (theory.p_block or 0)) * theory.mean_sojourn, rel=1e-8)


@given(st.fractions(Fraction(1, 10), 30, max_denominator=20), st.integers(1, 12), st.integers(0, 25))
def test_a_bounded_system_is_its_birth_death_chain(load: Fraction, workers: int, room: int) -> None:
    capacity = workers + room
    shares = fractions(load, workers, capacity)
    theory = markov(float(load), 1.0, workers, capacity=capacity)
    assert theory.p_block == pytest.approx(float(shares[-1]), abs=NEAR)
    assert theory.mean_in_system == pytest.approx(float(sum(n * share for n, share in enumerate(shares))), abs=1e-8)
    queue = sum((n - workers) * share for n, share in enumerate(shares) if n > workers)
    assert theory.mean_wait == pytest.approx(float(queue / (load * (1 - shares[-1]))), abs=NEAR)
    waiting = sum(shares[workers:capacity]) / (1 - shares[-1])
    assert theory.p_wait == pytest.approx(float(waiting), abs=NEAR)
    little_holds(theory, float(load))


@given(st.floats(0.1, 50), st.integers(1, 30))
def test_without_a_queue_it_is_erlang_b(load: float, workers: int) -> None:
    theory = markov(load, 1.0, workers, capacity=workers)
    assert theory.p_block == pytest.approx(erlang_b(load, workers), abs=NEAR)
    assert theory.p_wait == 0
    assert theory.p_timeout(2.0) == pytest.approx(math.exp(-2), abs=NEAR)


@pytest.mark.parametrize(("rate", "workers", "capacity"), [(9.0, 10, 15), (12.0, 10, 30), (0.5, 1, 2), (3.0, 2, 9)])
def test_sojourns_in_a_bounded_system(rate: float, workers: int, capacity: int) -> None:
    shares = [float(share) for share in fractions(Fraction(rate), workers, capacity)]
    theory = markov(rate, 1.0, workers, capacity=capacity)
    assert theory.tail is not None
    # Who finds n ≥ c waits for n − c + 1 departures, then is served: by Simpson's rule over the service time.
    for t in (0.0, 0.3, 1.0, 4.0):
        steps = 1_000
        width = t / steps
        total = sum(shares[:workers]) * math.exp(-t)
        for n in range(workers, capacity):
            values = [
                math.exp(-k * width) * erlang_tail(n - workers + 1, workers, t - k * width) for k in range(steps + 1)
            ]
            inner = sum((4 if k % 2 else 2) * values[k] for k in range(1, steps))
            total += shares[n] * ((values[0] + inner + values[-1]) * width / 3 + math.exp(-t))
        assert theory.tail(t) == pytest.approx(total / (1 - shares[-1]), abs=NEAR)


def test_room_for_many_is_room_for_all() -> None:
    bounded, unbounded = markov(9, 1, 10, capacity=3_000), mmc(9, 1, 10)
    assert bounded.p_block == pytest.approx(0, abs=1e-12)
    assert bounded.mean_wait == pytest.approx(unbounded.mean_wait, rel=NEAR)
    for t in (0.5, 3.0, 12.0):
        assert bounded.p_timeout(t) == pytest.approx(unbounded.p_timeout(t), abs=1e-10)


@pytest.mark.parametrize(
    ("rate", "workers", "patience"), [(9, 10, 8), (12, 10, 8), (12, 10, 0.2), (1, 1, 1), (30, 8, 3)]
)
def test_erlang_a_is_its_birth_death_chain(rate: int, workers: int, patience: float) -> None:
    getcontext().prec = 60
    leave = 1 / Decimal(str(patience))
    weights = [Decimal(1)]
    for n in range(1, 4_000):
        weights.append(weights[-1] * rate / (min(n, workers) + max(n - workers, 0) * leave))
    total = sum(weights, Decimal(0))
    queue = sum(((n - workers) * weight for n, weight in enumerate(weights) if n > workers), Decimal(0)) / total
    theory = markov(rate, 1.0, workers, patience_s=patience)
    assert theory.p_abandon == pytest.approx(float(leave * queue / rate), abs=NEAR)
    assert theory.mean_wait == pytest.approx(float(queue / rate), abs=NEAR)
    in_system = sum(n * weight for n, weight in enumerate(weights)) / total
    assert theory.mean_in_system == pytest.approx(float(in_system), rel=NEAR)
    little_holds(theory, rate)


@pytest.mark.parametrize(
    ("load", "workers", "patience"), [(9.0, 10, 8.0), (12.0, 10, 8.0), (4.0, 1, 3.0), (0.5, 1, 0.1), (6.0, 4, 0.5)]
)
def test_the_sojourn_of_the_impatient_has_the_mean_that_little_says(load: float, workers: int, patience: float) -> None:
    theory = markov(load, 1.0, workers, patience_s=patience)
    assert theory.tail is not None
    # The mean is the area below the tail.
    end, steps = 40.0, 2_000
    width = end / steps
    area = (
        sum((4 if k % 2 else 2) * theory.tail(k * width) for k in range(1, steps)) + theory.tail(0) + theory.tail(end)
    )
    assert area * width / 3 == pytest.approx(theory.mean_sojourn, abs=1e-5)


def test_endless_patience_is_none_at_all() -> None:
    patient = mmc(9, 1, 10)
    for theory in (markov(9, 1, 10, patience_s=1e9), fixed_patience(9, 1, 10, 1e4)):
        assert theory.p_abandon == pytest.approx(0, abs=1e-8)
        assert theory.mean_wait == pytest.approx(patient.mean_wait, rel=1e-6)
        assert theory.percentile(0.95) == pytest.approx(patient.percentile(0.95), rel=1e-6)


def test_no_patience_is_no_queue() -> None:
    for rate in (9, 12):
        for theory in (markov(rate, 1, 10, patience_s=1e-9), fixed_patience(rate, 1, 10, 1e-12)):
            assert theory.p_abandon == pytest.approx(erlang_b(rate, 10), abs=1e-6)


@pytest.mark.parametrize(
    ("rate", "workers", "patience"),
    [(9.0, 10, 8.0), (12.0, 10, 8.0), (10.0, 10, 8.0), (11.0, 10, 0.5), (0.7, 1, 2.0), (9.0, 10, 1e-3)],
)
def test_fixed_patience_is_its_density(rate: float, workers: int, patience: float) -> None:
    # The density of Baccelli and Hebuterne, integrated numerically.
    def density(w: float) -> float:
        return rate * rate ** (workers - 1) / math.factorial(workers - 1) * math.exp((rate - workers) * w)

    def integral(function: Callable[[float], float], end: float, steps: int = 4_000) -> float:
        width = end / steps
        inner = sum((4 if k % 2 else 2) * function(k * width) for k in range(1, steps))
        return (function(0.0) + inner + function(end)) * width / 3

    at_once = sum(rate**n / math.factorial(n) for n in range(workers))
    beyond = density(patience) / workers
    whole = at_once + integral(density, patience) + beyond
    theory = fixed_patience(rate, 1.0, workers, patience)
    assert theory.p_abandon == pytest.approx(beyond / whole, abs=NEAR)
    assert theory.p_wait == pytest.approx(1 - at_once / whole, abs=NEAR)
    wait = integral(lambda w: w * density(w), patience) / whole + patience * beyond / whole
    assert theory.mean_wait == pytest.approx(wait, abs=NEAR)
    little_holds(theory, rate)
    assert theory.tail is not None
    for t in (0.0, 0.3 * patience, patience, patience + 1.5):
        end = min(t, patience)
        served = at_once * math.exp(-t) + integral(lambda w: density(w) * math.exp(w), end) * math.exp(-t)
        there = (integral(density, patience) - integral(density, end) + beyond) if t < patience else 0.0
        assert theory.tail(t) == pytest.approx((served + there) / whole, abs=1e-8)


def test_fixed_patience_in_any_overload_does_not_overflow() -> None:
    theory = fixed_patience(5_000, 0.2, 500, 60)
    assert theory.p_abandon == pytest.approx(0.5, abs=1e-6)
    assert theory.mean_wait == pytest.approx(60, rel=1e-3)


@given(st.floats(-30, 30), st.floats(0, 5))
def test_integrals_of_exponentials(k: float, until: float) -> None:
    steps = 2_000
    width = until / steps
    for found, function in (
        (exponential_area(k, 0.0, until), lambda w: math.exp(k * w)),
        (exponential_moment(k, 0.0, until), lambda w: w * math.exp(k * w)),
    ):
        inner = sum((4 if step % 2 else 2) * function(step * width) for step in range(1, steps))
        assert found == pytest.approx((function(0.0) + inner + function(until)) * width / 3, rel=1e-6, abs=1e-12)


def test_a_system_with_less_room_than_workers_is_refused() -> None:
    with pytest.raises(ValueError, match="room"):
        markov(1, 1, 3, capacity=2)


@pytest.mark.parametrize("capacity", [1_000, 200_000])
def test_a_huge_room_in_overload_is_answered_in_time(capacity: int) -> None:
    theory = markov(12, 1, 10, capacity=capacity)
    assert theory.p_block == pytest.approx(1 / 6, abs=1e-3)
    assert theory.percentile(0.5) == pytest.approx(capacity / 10, rel=0.02)


def test_without_a_queue_nobody_is_impatient() -> None:
    theory, bounded = markov(12, 1, 10, capacity=10, patience_s=5), markov(12, 1, 10, capacity=10)
    assert (theory.p_abandon, theory.mean_wait) == (0.0, 0.0)
    for share in (0.5, 0.95, 0.99):
        assert theory.percentile(share) == pytest.approx(bounded.percentile(share), rel=NEAR)


def test_a_crowd_of_the_impatient_has_means_and_no_percentiles() -> None:
    theory = markov(15, 1, 10, patience_s=10_000)
    # By flow alone: a third must leave, after a wait of a third of their patience in the mean.
    assert theory.p_abandon == pytest.approx(1 / 3, abs=1e-6)
    assert theory.mean_wait == pytest.approx(10_000 / 3, rel=1e-6)
    assert theory.percentile(0.5) is None
    with pytest.raises(ValueError, match="1,000,000"):
        markov(15, 1, 10, patience_s=1_000_000)
