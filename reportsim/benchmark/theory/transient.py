"""A run that starts empty and ends: the M/M/c chain by uniformisation, and the fluid limit for overload.

Steady-state formulas do not fit a short run at high load: it takes several relaxation times to forget the start.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from reportsim.benchmark.theory.model_result import Theory
from reportsim.benchmark.theory.sojourn import Sojourn, poisson_window

# States less likely than this are cut off the end of the chain.
DUST: Final = 1e-16
# Steps times states that a chain may take: about a second.
MOST_WORK: Final = 3e7


def relaxation_time(rate: float, mean_s: float, workers: int) -> float:
    """Seconds in which M/M/c forgets its start by a factor of e: 1 / (√cμ − √λ)²; infinite at ρ = 1.

    Source: J. F. C. Kingman's spectral gap of M/M/c, the usual estimate near saturation.
    """
    gap = math.sqrt(workers / mean_s) - math.sqrt(rate)
    return 1 / gap**2 if gap else math.inf


def work(rate: float, mean_s: float, workers: int, duration_s: float) -> float:
    """About how many steps times states `run_from_empty` takes."""
    steps = (rate + workers / mean_s) * duration_s
    surplus = max(rate - workers / mean_s, 0.0) * duration_s
    return steps * min(workers + surplus + 8 * math.sqrt(steps), steps)


def seen_by_arrivals(rate: float, mean_s: float, workers: int, duration_s: float) -> list[float]:
    """The probabilities of n customers in M/M/c, averaged over 0…duration_s from an empty start.

    Poisson arrivals see time averages, so this is also what an arrival of such a run finds. Exact but for the dust.
    """
    finish = 1 / mean_s
    steps_per_s = rate + workers * finish
    mean_steps = steps_per_s * duration_s
    first, weights = poisson_window(mean_steps)
    # ∫ Poisson(n; qt) dt over 0…T is P(more than n steps in T) / q.
    beyond = 1.0
    up = rate / steps_per_s
    down = [min(n, workers) * finish / steps_per_s for n in range(workers + 1)]
    state, seen = [1.0], [0.0]
    for number in range(first + len(weights)):
        if number >= first:
            beyond -= weights[number - first]
        share = max(beyond, 0.0) / mean_steps
        seen += [0.0] * (len(state) - len(seen))
        seen[: len(state)] = [total + share * now for total, now in zip(seen, state, strict=False)]
        state = _step(state, up, down)
        while state[-1] < DUST:
            state.pop()
    total = math.fsum(seen)
    return [share / total for share in seen]


def _step(state: list[float], up: float, down: list[float]) -> list[float]:
    """One step of the uniformised chain; `down[n]` is the probability of a departure from n, the last one from more."""
    workers = len(down) - 1
    few, many = state[:workers], state[workers:]
    most = down[workers]
    leaving = [share * chance for share, chance in zip(few, down, strict=False)] + [share * most for share in many]
    leaving += [0.0, 0.0]
    # From fewer than c the chain stays with what is left of 1; from c on it always moves.
    staying = [share * (most - chance) for share, chance in zip(few, down, strict=False)] + [0.0] * (len(many) + 1)
    arriving = [0.0] + [share * up for share in state]
    return [a + s + leaves for a, s, leaves in zip(arriving, staying, leaving[1:], strict=True)]


def run_from_empty(rate: float, mean_s: float, workers: int, duration_s: float) -> Theory:
    """What the arrivals of 0…duration_s meet in an M/M/c that is empty at first; any ρ.

    `mean_in_system` is the average over the same time; Little's law holds for it only with those who are still there.
    """
    seen = seen_by_arrivals(rate, mean_s, workers, duration_s)
    waiting = seen[workers:]
    wait = math.fsum((ahead + 1) * share for ahead, share in enumerate(waiting)) * mean_s / workers
    return Theory(
        model="M/M/c from empty (uniformisation)",
        rho=rate * mean_s / workers,
        p_wait=math.fsum(waiting),
        mean_wait=wait,
        mean_sojourn=wait + mean_s,
        mean_in_system=math.fsum(n * share for n, share in enumerate(seen)),
        tail=Sojourn(seen, workers, mean_s).tail,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Fluid:
    """An overload without chance: the queue grows by λ − cμ a second as long as the load lasts. First order only."""

    rate: float
    mean_s: float
    workers: int
    duration_s: float

    @property
    def surplus(self) -> float:
        """Arrivals per second above what the workers can do."""
        return max(self.rate - self.workers / self.mean_s, 0.0)

    @property
    def last_wait_s(self) -> float:
        """The wait of the last arrival, which is also the time to empty the queue after it."""
        return self.surplus * self.duration_s * self.mean_s / self.workers

    @property
    def drain_s(self) -> float:
        """The time from the last arrival to an empty queue."""
        return self.last_wait_s

    def timeout_share(self, timeout_s: float) -> float:
        """The share of arrivals whose wait and mean service together exceed this, when the server does not care."""
        if not self.last_wait_s:
            return float(self.mean_s > timeout_s)
        return min(max(1 - (timeout_s - self.mean_s) / self.last_wait_s, 0.0), 1.0)

    def theory(self) -> Theory:
        """The answers in the common form; the wait grows evenly from 0 to that of the last arrival."""
        tail: Callable[[float], float] = self.timeout_share
        mean_wait = self.last_wait_s / 2
        return Theory(
            model="fluid",
            rho=self.rate * self.mean_s / self.workers,
            p_wait=1.0 if self.surplus else 0.0,
            mean_wait=mean_wait,
            mean_sojourn=mean_wait + self.mean_s,
            mean_in_system=self.workers * min(1.0, self.rate * self.mean_s / self.workers)
            + self.surplus * self.duration_s / 2,
            tail=tail,
        )
