"""Queues without limits: Erlang B and C, M/M/c, and Allen and Cunneen's approximation for other distributions.

Symbols: a = λ·S̄ is the offered load, ρ = a/c, μ = 1/S̄. Sources: A. K. Erlang (1917) for B and C; D. Gross et al.,
"Fundamentals of Queueing Theory", for M/M/c; A. O. Allen, "Probability, Statistics, and Queueing Theory", for the
approximation, which for one worker and Poisson arrivals is the exact formula of Pollaczek and Khinchine.
"""

import math
from typing import Final

from reportsim.benchmark.theory.model_result import Theory
from reportsim.core.service_time import ServiceTime

# Equally likely service times that stand for their distribution when it is added to the wait.
POINTS: Final = 2_000


def erlang_b(load: float, workers: int) -> float:
    """The share that c workers without a queue turn away, of an offered load a."""
    blocked = 1.0
    for busy in range(1, workers + 1):
        blocked = load * blocked / (busy + load * blocked)
    return blocked


def erlang_c(load: float, workers: int) -> float:
    """The share that has to wait for one of c workers; everyone, when the load is c or more."""
    rho = load / workers
    if rho >= 1:
        return 1.0
    blocked = erlang_b(load, workers)
    return blocked / (1 - rho + rho * blocked)


def sojourn_tail(rate: float, mean_s: float, workers: int, t: float) -> float:
    """P(wait + service > t) in M/M/c: e^-μt (1 + C (1 − e^-μtd) / d) with d = c − 1 − a, and 1 + C μt where d = 0."""
    if rate * mean_s >= workers:
        return 1.0
    waiting = erlang_c(rate * mean_s, workers)
    x, d = t / mean_s, workers - 1 - rate * mean_s
    if abs(x * d) < 1:
        lost = -math.expm1(-x * d) / d if d else x
        return math.exp(-x) * (1 + waiting * lost)
    # Where d < 0, e^-μtd is huge: multiplied out, it is the tail of the wait.
    return math.exp(-x) + waiting * (math.exp(-x) - math.exp(-x * (1 + d))) / d


def mmc(rate: float, mean_s: float, workers: int) -> Theory:
    """M/M/c in its steady state, which needs ρ < 1: beyond, the queue grows by λ − cμ a second without bound."""
    load = rate * mean_s
    if load >= workers:
        return without_steady_state("M/M/c", load / workers)
    waiting = erlang_c(load, workers)
    wait = waiting / (workers / mean_s - rate)
    return Theory(
        model="M/M/c",
        rho=load / workers,
        p_wait=waiting,
        mean_wait=wait,
        mean_sojourn=wait + mean_s,
        mean_in_system=rate * (wait + mean_s),
        tail=lambda t: sojourn_tail(rate, mean_s, workers, t),
    )


def without_steady_state(name: str, rho: float) -> Theory:
    """The result for an overload without a limit: all wait, longer than any time."""
    return Theory(model=f"{name}, no steady state", rho=rho, p_wait=1.0, tail=lambda _: 1.0)


def allen_cunneen(rate: float, service: ServiceTime, workers: int, arrival_scv: float = 1.0) -> Theory:
    """G/G/c in its steady state: the wait of M/M/c times (Ca² + Cs²) / 2, and its tail stretched by the same.

    `arrival_scv` is Ca²: 1 for Poisson arrivals, 0 for evenly spaced ones. Measured against the event simulation at
    c = 8: mean wait −6 % to +11 %, sojourn percentiles within 2 % at moderate spread and 5 % at sigma = 1.
    """
    name = f"{'M' if arrival_scv else 'D'}/{service.symbol}/c (Allen–Cunneen)"
    mean_s = service.mean_s
    load = rate * mean_s
    if load >= workers:
        return without_steady_state(name, load / workers)
    stretch = (arrival_scv + service.scv) / 2
    waiting = erlang_c(load, workers) if stretch else 0.0
    wait = waiting * stretch / (workers / mean_s - rate) if waiting else 0.0
    times = [service.quantile_s((k + 0.5) / POINTS) for k in range(POINTS)]
    decay = (workers / mean_s - rate) / stretch if waiting else 0.0

    def tail(t: float) -> float:
        return math.fsum(1.0 if s > t else waiting * math.exp(-decay * (t - s)) for s in times) / POINTS

    return Theory(
        model=name,
        rho=load / workers,
        p_wait=waiting,
        mean_wait=wait,
        mean_sojourn=wait + mean_s,
        mean_in_system=rate * (wait + mean_s),
        tail=tail,
    )
