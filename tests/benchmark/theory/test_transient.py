"""Runs from empty, against the differential equations themselves, and against the limits of long and of mad runs."""

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reportsim.benchmark.theory.erlang import mmc, sojourn_tail
from reportsim.benchmark.theory.sojourn import Sojourn, poisson_window
from reportsim.benchmark.theory.transient import Fluid, relaxation_time, run_from_empty, seen_by_arrivals, work


def averages_by_runge_kutta(rate: float, mean: float, workers: int, duration: float, states: int) -> list[float]:
    """The time averages of M/M/c from empty, by integrating Kolmogorov's equations in small steps."""

    def change(p: list[float]) -> list[float]:
        flow = [0.0] * states
        for n in range(states - 1):
            up, down = rate * p[n], min(n + 1, workers) / mean * p[n + 1]
            flow[n] += down - up
            flow[n + 1] += up - down
        return flow

    steps = 2_000
    h = duration / steps
    p, total = [1.0] + [0.0] * (states - 1), [0.0] * states
    for _ in range(steps):
        a = change(p)
        b = change([x + h / 2 * d for x, d in zip(p, a, strict=True)])
        c = change([x + h / 2 * d for x, d in zip(p, b, strict=True)])
        d = change([x + h * e for x, e in zip(p, c, strict=True)])
        after = [x + h / 6 * (i + 2 * j + 2 * k + m) for x, i, j, k, m in zip(p, a, b, c, d, strict=True)]
        total = [t + h * (x + y) / 2 for t, x, y in zip(total, p, after, strict=True)]
        p = after
    return [t / duration for t in total]


@pytest.mark.parametrize(("rate", "mean", "workers", "duration"), [(3.0, 0.5, 2, 4.0), (1.2, 1.0, 1, 10.0)])
def test_what_arrivals_see_solves_kolmogorovs_equations(
    rate: float, mean: float, workers: int, duration: float
) -> None:
    expected = averages_by_runge_kutta(rate, mean, workers, duration, 60)
    found = seen_by_arrivals(rate, mean, workers, duration)
    for n in range(25):
        assert found[n] == pytest.approx(expected[n], abs=2e-6)


def test_a_long_run_forgets_that_it_was_empty() -> None:
    # The start costs a share of about the relaxation time over the length.
    long, steady = run_from_empty(7, 1, 10, 2_000), mmc(7, 1, 10)
    assert long.p_wait == pytest.approx(steady.p_wait, rel=0.01)
    assert long.mean_wait == pytest.approx(steady.mean_wait, rel=0.01)
    assert long.percentile(0.95) == pytest.approx(steady.percentile(0.95), rel=0.01)


def test_a_short_run_at_high_load_is_far_from_the_steady_state() -> None:
    # Eight workers, two seconds each, ρ = 0.9, a minute from empty: half of the time-outs of the steady state.
    short, steady = run_from_empty(3.6, 2, 8, 60), mmc(3.6, 2, 8)
    assert relaxation_time(3.6, 2, 8) == pytest.approx(95, abs=0.5)
    assert short.p_timeout(8) == pytest.approx(0.051, abs=0.003)
    assert steady.p_timeout(8) == pytest.approx(0.097, abs=0.003)


def test_a_moment_after_the_start_nobody_waits() -> None:
    theory = run_from_empty(9, 1, 10, 1e-3)
    assert theory.p_wait == pytest.approx(0, abs=1e-12)
    assert theory.p_timeout(2.0) == pytest.approx(math.exp(-2), abs=1e-9)


def test_mad_overload_is_the_fluid_limit() -> None:
    fluid = Fluid(rate=60, mean_s=0.1, workers=2, duration_s=20)
    theory = run_from_empty(60, 0.1, 2, 20)
    assert theory.mean_wait == pytest.approx(fluid.last_wait_s / 2, rel=0.02)
    assert theory.p_timeout(8.0) == pytest.approx(fluid.timeout_share(8.0), abs=0.01)
    assert fluid.drain_s == pytest.approx(20 * (60 - 20) / 20)
    assert fluid.theory().percentile(0.5) == pytest.approx(0.1 + fluid.last_wait_s / 2, rel=1e-6)


def test_without_overload_the_fluid_never_queues() -> None:
    calm = Fluid(rate=8, mean_s=1, workers=10, duration_s=60)
    assert (calm.drain_s, calm.timeout_share(2), calm.timeout_share(0.5)) == (0, 0, 1)
    assert calm.theory().mean_in_system == 8


def test_the_work_is_known_before_it_is_done() -> None:
    assert work(8, 1, 10, 60) < 1e6
    assert work(5_000, 0.002, 32, 600) > 1e9
    assert relaxation_time(10, 1, 10) == math.inf


@given(st.floats(0, 5_000))
def test_a_poisson_window_holds_all_of_it(mean: float) -> None:
    first, weights = poisson_window(mean)
    assert math.fsum(weights) == pytest.approx(1)
    assert math.fsum((first + k) * weight for k, weight in enumerate(weights)) == pytest.approx(
        mean, abs=1e-6, rel=1e-9
    )


@given(st.floats(0.1, 0.95), st.integers(1, 12), st.floats(0, 40))
@settings(max_examples=50, deadline=None)
def test_sojourns_from_the_states_seen_are_the_closed_form(rho: float, workers: int, t: float) -> None:
    rate = rho * workers
    weights = [1.0]
    for n in range(1, 3_000):
        weights.append(weights[-1] * rate / min(n, workers))
    total = math.fsum(weights)
    sojourn = Sojourn([weight / total for weight in weights], workers, 1.0)
    assert sojourn.tail(t) == pytest.approx(sojourn_tail(rate, 1.0, workers, t), abs=1e-9)
