"""A plan made concrete: when each request is due, and how long it will hold a worker; the same for both sides."""

import math
from array import array
from collections.abc import Mapping
from dataclasses import dataclass
from random import Random
from typing import Any

from reportsim.benchmark.plan import Arrivals, Plan
from reportsim.engine.simulate import draw


@dataclass(frozen=True, slots=True, eq=False)
class Schedule:
    """One entry per request and index, of both blocks one after the other."""

    intended: "array[float]"
    """Seconds from the start of the request's own block, ascending within it."""
    seeds: "array[int]"
    """The seed of each request's `simulate`."""
    services: "array[float]"
    """Seconds for which the server will hold a worker, which it draws from that seed."""

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Schedule):
            return NotImplemented
        return (self.intended, self.seeds, self.services) == (other.intended, other.seeds, other.services)

    def as_json(self) -> dict[str, Any]:
        """The arrays as lists; floats come back to the last bit."""
        return {
            "intended_s": self.intended.tolist(),
            "seeds": self.seeds.tolist(),
            "service_s": self.services.tolist(),
        }

    @classmethod
    def from_json(cls, lists: Mapping[str, Any]) -> "Schedule":
        """A schedule as it was exported.

        Raises:
            ValueError: The lists are not of one length.
        """
        intended, seeds, services = lists["intended_s"], lists["seeds"], lists["service_s"]
        if not len(intended) == len(seeds) == len(services):
            raise ValueError("a schedule has as many times as seeds")
        return cls(array("d", intended), array("q", seeds), array("d", services))


def make_schedule(plan: Plan) -> Schedule:
    """Draws the schedule of a plan; the same plan always has the same one.

    Each of its streams has a generator of its own, so that the arrivals do not depend on the service times. Takes
    about ten microseconds per request.
    """
    intended = array("d")
    source = Random(f"{plan.seed}/arrivals")
    for half in plan.halves:
        intended.extend(intended_times(plan.arrivals, len(half), plan.rate, plan.block_s, source))
    seeds_from = Random(f"{plan.seed}/seeds")
    seeds = array("q", (seeds_from.getrandbits(31) for _ in range(plan.count)))
    return Schedule(intended, seeds, array("d", (service_s(plan, seed) for seed in seeds)))


def service_s(plan: Plan, seed: int) -> float:
    """The seconds for which the server will hold a worker for the request with this seed."""
    simulate = plan.simulate(seed)
    return draw(simulate).service_s if simulate else 0.0


def intended_times(arrivals: Arrivals, count: int, rate: float, block_s: float, source: Random) -> "array[float]":
    """Ascending seconds in 0…block_s.

    Their number is fixed: it is the planned one. Given their number, Poisson arrivals are so many points thrown evenly
    at the block; the ramp throws them with a density that grows like the rate.
    """
    match arrivals:
        case Arrivals.POISSON:
            return array("d", sorted(block_s * source.random() for _ in range(count)))
        case Arrivals.RAMP:
            return array("d", sorted(block_s * math.sqrt(source.random()) for _ in range(count)))
        case Arrivals.CONSTANT:
            return array("d", (block_s * index / count for index in range(count)))
        case Arrivals.BURST:
            size = max(round(rate), 2)
            return array("d", (index // size * size / rate for index in range(count)))
