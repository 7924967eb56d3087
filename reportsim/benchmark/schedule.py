"""A plan made concrete: when each request is due, and how long it will hold a worker; the same for both sides."""

import math
from array import array
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from random import Random
from typing import Final

from reportsim.benchmark.plan import Plan
from reportsim.benchmark.workload import Arrivals, Workload
from reportsim.core.service_time import draw

# In blocks: an arrival at the very start of a block, but for a binary fraction, belongs to it.
ROUNDING: Final = 1e-9


@dataclass(frozen=True, slots=True, eq=False)
class Schedule:
    """One entry per request and index, one block after the other."""

    bounds: tuple[int, ...]
    """The index at which each block begins, and the number of requests."""
    due: "array[float]"
    """Seconds from the start of the request's own block, ascending within it."""
    seeds: "array[int]"
    """The seed of each request's `simulate`."""
    services: "array[float]"
    """Seconds for which the server will hold a worker, which it draws from that seed."""

    def __len__(self) -> int:
        return len(self.due)

    @property
    def blocks(self) -> tuple[range, ...]:
        """The indices of each block."""
        return tuple(range(start, stop) for start, stop in pairwise(self.bounds))

    @property
    def first_busy_block(self) -> int:
        """The number of the first block that has requests; 0 where none has, which a low rate may bring about."""
        return next((number for number, block in enumerate(self.blocks) if block), 0)


def make_schedule(plan: Plan) -> Schedule:
    """Draws the schedule of a plan; the same plan always has the same one.

    Each of its streams has a generator of its own, so that the arrivals do not depend on the service times. Takes
    about ten microseconds per request.
    """
    due, bounds = draw_arrivals(plan)
    seeds = draw_seeds(plan, len(due))
    return Schedule(bounds, due, seeds, array("d", (service_s(plan, seed) for seed in seeds)))


def draw_seeds(plan: Plan, count: int) -> "array[int]":
    """The seeds of the first so many requests; that of an index does not depend on how many there are."""
    source = Random(f"{plan.seed}/seeds")
    return array("q", (source.getrandbits(31) for _ in range(count)))


def draw_arrivals(workload: Workload) -> tuple["array[float]", tuple[int, ...]]:
    """When each request is due, in seconds from the start of its own block, and the index at which each block begins.

    The number of requests stands at the end of the indices.
    """
    due, bounds = array("d"), [0]
    source = Random(f"{workload.seed}/arrivals")
    for block in draw_blocks(workload, source):
        due.extend(block)
        bounds.append(len(due))
    return due, tuple(bounds)


def service_s(plan: Plan, seed: int) -> float:
    """The seconds for which the server will hold a worker for the request with this seed."""
    simulate = plan.simulate(seed)
    return draw(simulate).service_s if simulate else 0.0


def draw_blocks(workload: Workload, source: Random) -> "Iterator[array[float]]":
    """The arrivals of each block, in ascending seconds from its start: in all, on average `rate` a second."""
    rate, block_s = workload.rate, workload.block_s
    match workload.arrivals:
        case Arrivals.POISSON:
            yield from (poisson_process(rate, block_s, source) for _ in range(workload.pairs))
        case Arrivals.RAMP:
            # Until t there are rate · t² / block_s arrivals on average: on that scale the process is steady.
            for _ in range(workload.pairs):
                steady = poisson_process(1.0, rate * block_s, source)
                yield array("d", (math.sqrt(moment * block_s / rate) for moment in steady))
        case Arrivals.CONSTANT:
            yield from even_blocks(workload, 1)
        case Arrivals.BURST:
            yield from even_blocks(workload, max(round(rate), 2))


def poisson_process(rate: float, until_s: float, source: Random) -> "array[float]":
    """The moments of a Poisson process: exponential gaps, and a random number of them."""
    moments = array("d")
    moment = source.expovariate(rate)
    while moment < until_s:
        moments.append(moment)
        moment += source.expovariate(rate)
    return moments


def even_blocks(workload: Workload, together: int) -> "list[array[float]]":
    """Arrivals without chance, so many at once, at one pace through all blocks; bursts are not divided by them.

    The number of the whole run is that of its rate, which need not be one of requests per block.
    """
    rate, per_block = workload.rate, workload.rate * workload.block_s
    blocks = [array("d") for _ in range(workload.pairs)]
    for index in range(workload.expected_count):
        first = index - index % together
        number = min(int(first / per_block + ROUNDING), len(blocks) - 1)
        blocks[number].append(max((first - number * per_block) / rate, 0.0))
    return blocks
