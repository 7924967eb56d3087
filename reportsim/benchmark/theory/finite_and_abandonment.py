"""Queues with limits: a bounded system (M/M/c/K), exponential patience (Erlang A), fixed patience.

Sources: C. Palm (1946) and N. Gans et al. (2003) for Erlang A; F. Baccelli and G. Hebuterne (1981) for patience of any
distribution, here a fixed one. All of these have a steady state in overload, too.
"""

import math
from collections.abc import Callable
from typing import Final

from reportsim.benchmark.theory.model_result import Theory
from reportsim.benchmark.theory.sojourn import Sojourn

# States whose probability is below this share of the likeliest one are left out.
DUST: Final = 1e-18
MOST_STATES: Final = 1_000_000
# Steps times states that the times of the impatient may take: a few seconds.
MOST_WORK: Final = 2e7
# Exponents whose square no longer matters.
TINY: Final = 1e-9


def birth_death(birth: Callable[[int], float], death: Callable[[int], float], most: int | None = None) -> list[float]:
    """The steady state of a birth-death chain on 0…most, cut where the rest no longer matters.

    `birth(n)` leads from n to n + 1, `death(n)` from n to n − 1. In logarithms, so that no size overflows.
    """
    logs, best, state = [0.0], 0.0, 0
    limit = MOST_STATES if most is None else most
    while state < limit:
        step = math.log(birth(state)) - math.log(death(state + 1))
        state += 1
        logs.append(logs[-1] + step)
        best = max(best, logs[-1])
        # The ratios only fall from here on, so that a geometric series bounds what is left.
        if step < 0 and logs[-1] - best - math.log(-math.expm1(step)) < math.log(DUST):
            break
    else:
        if most is None:
            raise ValueError(f"more than {MOST_STATES:,} would wait at once: that many cannot be reckoned with")
    weights = [math.exp(value - best) for value in logs]
    total = math.fsum(weights)
    return [weight / total for weight in weights]


def markov(
    rate: float, mean_s: float, workers: int, *, capacity: int | None = None, patience_s: float | None = None
) -> Theory:
    """M/M/c/K with or without exponential patience, at most K = `capacity` waiting and in service.

    `patience_s` is the mean of the patience on the wait. Exact, by the steady state of the birth-death chain. Where
    thousands would wait, there is no tail: it would take more than seconds.
    """
    if capacity is not None and capacity < workers:
        raise ValueError("a system has room for at least as many customers as it has workers")
    finish, leave = 1 / mean_s, 0.0 if patience_s is None else 1 / patience_s
    shares = birth_death(lambda n: rate, lambda n: min(n, workers) * finish + max(n - workers, 0) * leave, capacity)
    blocked = shares[capacity] if capacity is not None and capacity < len(shares) else 0.0
    seen = shares[:capacity] if capacity is not None else shares
    let_in = 1 - blocked
    in_system = math.fsum(n * share for n, share in enumerate(shares))
    queue = math.fsum((n - workers) * share for n, share in enumerate(shares) if n > workers)
    mean_sojourn = in_system / (rate * let_in)
    # About the work of `Sojourn`, whose steps move every waiting customer where one may leave.
    waiting = max(len(seen) - workers, 0)
    heavy = 2 * mean_sojourn * (workers * finish + waiting * leave) * waiting > MOST_WORK if leave else False
    sojourn = None if heavy else Sojourn(seen, workers, mean_s, math.inf if patience_s is None else patience_s)
    return Theory(
        model="M/M/c" + ("/K" if capacity is not None else "") + ("+M (Erlang A)" if patience_s is not None else ""),
        rho=rate * mean_s / workers,
        p_wait=math.fsum(seen[workers:]) / let_in,
        mean_wait=queue / (rate * let_in),
        mean_sojourn=mean_sojourn,
        mean_in_system=in_system,
        p_block=None if capacity is None else blocked,
        p_abandon=None if patience_s is None else leave * queue / (rate * let_in),
        tail=None if sojourn is None else sojourn.tail,
    )


def fixed_patience(rate: float, mean_s: float, workers: int, patience_s: float) -> Theory:
    """M/M/c+D: customers that have waited for T = `patience_s` leave. Exact.

    The wait V that a patient customer would have has the density λ p e^((λ − cμ) w) up to T, p being the probability
    of c − 1 busy workers. Beyond T nobody joins whom one would have to wait for, so that P(V > T) = λ p e^((λ − cμ) T)
    / cμ.
    """
    finish, serving = 1 / mean_s, workers / mean_s
    drift = rate - serving
    below = birth_death(lambda n: rate, lambda n: n * finish, workers - 1)
    entry = rate * below[workers - 1] if len(below) == workers else 0.0
    # Everything is divided by e^(drift T) where that is large.
    level = -max(drift * patience_s, 0.0)
    leaves = entry * math.exp(level + drift * patience_s) / serving
    whole = math.exp(level) + entry * exponential_area(drift, level, patience_s) + leaves
    entry, leaves, at_once = entry / whole, leaves / whole, math.exp(level) / whole
    wait = entry * exponential_moment(drift, level, patience_s) + patience_s * leaves
    sojourn = wait + mean_s * (1 - leaves)

    def tail(t: float) -> float:
        until = min(t, patience_s)
        served = at_once * math.exp(-finish * t) + entry * exponential_area(drift + finish, level - finish * t, until)
        if t >= patience_s:
            return served
        shift = level + drift * t
        return served + leaves + entry * exponential_area(drift, shift, patience_s - t)

    return Theory(
        model="M/M/c+D (fixed patience)",
        rho=rate * mean_s / workers,
        p_wait=1 - at_once,
        mean_wait=wait,
        mean_sojourn=sojourn,
        mean_in_system=rate * sojourn,
        p_abandon=leaves,
        tail=tail,
    )


def exponential_area(k: float, b: float, until: float) -> float:
    """The integral of e^(kw + b) over w in 0…until, safe for any size of k."""
    x = k * until
    if x > 1:
        return (math.exp(b + x) - math.exp(b)) / k
    if abs(x) < TINY:
        return math.exp(b) * until * (1 + x / 2)
    return math.exp(b) * math.expm1(x) / k


def exponential_moment(k: float, b: float, until: float) -> float:
    """The integral of w e^(kw + b) over w in 0…until, likewise."""
    x = k * until
    if abs(x) < 0.1:
        series = math.fsum(x**n / (math.factorial(n) * (n + 2)) for n in range(12))
        return math.exp(b) * until * until * series
    return ((x - 1) * math.exp(b + x) + math.exp(b)) / (k * k)
