"""One queue and one question, without a plan: the theory that answers it, or else a long simulation."""

import math
import sys
from array import array
from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from random import Random
from typing import Final

from reportsim.benchmark.theory.erlang import allen_cunneen, mmc
from reportsim.benchmark.theory.finite_and_abandonment import fixed_patience, markov
from reportsim.benchmark.theory.model_result import Theory
from reportsim.benchmark.theory.simulation import Flow, simulate_bounded
from reportsim.benchmark.theory.transient import MOST_WORK, run_from_empty, work
from reportsim.core.service_time import ServiceTime

CUSTOMERS: Final = 400_000
# Of a simulated steady state, the first part that still remembers the start.
WARM_UP: Final = 0.1
MOST_RUNS: Final = 500
FEWEST_RUNS: Final = 10


class Patience(StrEnum):
    """How the limit on the wait is spread over customers."""

    EXPONENTIAL = "exponential"
    FIXED = "fixed"


@dataclass(frozen=True, slots=True, kw_only=True)
class Queue:
    """Poisson arrivals at c workers, first come first served."""

    rate: float
    """Arrivals per second."""
    service: ServiceTime
    workers: int
    capacity: int | None = None
    """The most customers in the system, waiting and in service; None: any number."""
    patience_s: float | None = None
    """The mean, or the fixed, limit on the wait; None: all wait."""
    patience: Patience = Patience.EXPONENTIAL
    duration_s: float | None = None
    """How long a run from empty lasts; None: the steady state."""
    seed: int = 1

    @property
    def rho(self) -> float:
        """Offered load per worker."""
        return self.rate * self.service.mean_s / self.workers

    @property
    def unlimited(self) -> bool:
        """Whether no customer is rejected and none leaves."""
        return self.capacity is None and self.patience_s is None


def answer(queue: Queue) -> Theory:
    """The answer of theory: exact where possible, by a known approximation, or else by simulation."""
    rate, mean_s, workers = queue.rate, queue.service.mean_s, queue.workers
    if queue.duration_s is not None:
        short = work(rate, mean_s, workers, queue.duration_s) <= MOST_WORK
        if queue.service.exponential and queue.unlimited and short:
            return run_from_empty(rate, mean_s, workers, queue.duration_s)
        return simulated(queue)
    if queue.unlimited:
        return mmc(rate, mean_s, workers) if queue.service.exponential else allen_cunneen(rate, queue.service, workers)
    if not queue.service.exponential:
        return simulated(queue)
    if queue.patience_s is None or queue.patience is Patience.EXPONENTIAL:
        return markov(rate, mean_s, workers, capacity=queue.capacity, patience_s=queue.patience_s)
    if queue.capacity is None:
        return fixed_patience(rate, mean_s, workers, queue.patience_s)
    return simulated(queue)


def simulated(queue: Queue) -> Theory:
    """The answers of a simulated queue: many short runs from empty, or one long one whose start is left out."""
    waits, stays = array("d"), array("d")
    offered = blocked = left = waited = 0
    present = span = 0.0
    for flow, first, start, end in runs(queue):
        span += end - start
        offered += len(flow.starts) - first
        for arrival, begun, gone in zip(flow.arrivals[first:], flow.starts[first:], flow.ends[first:], strict=True):
            served = begun == begun
            if not served and gone == arrival:
                blocked += 1
                continue
            left += not served
            waited += not served or begun > arrival
            waits.append((begun if served else gone) - arrival)
            stays.append(gone - arrival)
            present += min(gone, end) - arrival
    let_in = max(len(waits), 1)
    ordered = array("d", sorted(stays))
    kind = "steady state" if queue.duration_s is None else "runs from empty"
    return Theory(
        model=f"M/{queue.service.symbol}/c, event simulation of {kind}",
        rho=queue.rho,
        p_wait=waited / let_in,
        mean_wait=math.fsum(waits) / let_in,
        mean_sojourn=math.fsum(stays) / let_in,
        mean_in_system=present / span if span else 0.0,
        p_block=None if queue.capacity is None else blocked / max(offered, 1),
        p_abandon=None if queue.patience_s is None else left / let_in,
        tail=lambda t: 1 - bisect_right(ordered, t) / let_in,
    )


def runs(queue: Queue) -> Iterator[tuple[Flow, int, float, float]]:
    """Simulated runs: each with its first customer that counts, and from when until when it is looked at."""
    if queue.duration_s is None:
        span = CUSTOMERS / queue.rate
        flow = run(queue, span, 0)
        start = WARM_UP * span
        yield flow, bisect_right(flow.arrivals, start), start, span
        return
    number = min(max(int(CUSTOMERS / (queue.rate * queue.duration_s + 1)), FEWEST_RUNS), MOST_RUNS)
    for index in range(number):
        yield run(queue, queue.duration_s, index), 0, 0.0, queue.duration_s


def run(queue: Queue, span: float, number: int) -> Flow:
    """One run from empty, with arrivals until `span` seconds."""
    source = Random(f"{queue.seed}/outlook/{number}")
    arrivals, at = array("d"), source.expovariate(queue.rate)
    while at < span:
        arrivals.append(at)
        at += source.expovariate(queue.rate)
    services = queue.service.draws_s(len(arrivals), source)
    return simulate_bounded(
        arrivals,
        services,
        workers=queue.workers,
        capacity=sys.maxsize if queue.capacity is None else queue.capacity,
        deadlines=(arrival + limit for arrival, limit in zip(arrivals, limits(queue, source), strict=False)),
    )


def limits(queue: Queue, source: Random) -> Iterator[float]:
    """How long each customer is ready to wait."""
    while True:
        if queue.patience_s is None:
            yield math.inf
        elif queue.patience is Patience.FIXED:
            yield queue.patience_s
        else:
            yield source.expovariate(1 / queue.patience_s)
