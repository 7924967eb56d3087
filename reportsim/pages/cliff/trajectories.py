"""What happens to each request of the picture, by the event simulation, in whole milliseconds."""

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from operator import sub
from typing import Final

from reportsim.benchmark.plan import Plan
from reportsim.benchmark.schedule import make_schedule
from reportsim.benchmark.theory.simulation import Flow, simulate
from reportsim.core.backoff import wait_after

# The callback receiver does not answer in this time.
RECEIVER_DOWN_MS: Final = (2_000, 4_500)
WAITS_S: Final = (2.0, 4.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Trajectory:
    """The requests of a run in the order of their arrival; times in milliseconds from its start."""

    arrivals: Sequence[int]
    starts: Sequence[int]
    """When a worker began."""
    ends: Sequence[int]
    workers: Sequence[int]
    """Which worker it was, from 0."""
    gave_up: Sequence[int]
    """The indices of the sync clients that left at their time-out, before the report was ready."""
    callbacks: dict[int, Sequence[int]]
    """By index, the attempts of the callbacks that failed at first; only the last one of each is delivered."""
    median_ms: int
    """The median time until a report was ready, for whomever."""


def follow(plan: Plan) -> Trajectory:
    """The trajectory of the first block of a plan; its server goes on working for clients that left."""
    schedule = make_schedule(plan)
    # Rounded before the simulation, so that what is drawn is exactly what was simulated.
    arrivals, services = to_milliseconds(schedule.due), to_milliseconds(schedule.services)
    timeout = math.inf if plan.client_timeout_s is None else 1000 * plan.client_timeout_s
    deadlines = [arrival + timeout for arrival in arrivals]
    flow = simulate(arrivals, services, workers=plan.workers, deadlines=deadlines)
    ends = [round(end) for end in flow.ends]
    return Trajectory(
        arrivals=arrivals,
        starts=[round(start) for start in flow.starts],
        ends=ends,
        workers=assign_workers(flow, plan.workers),
        gave_up=[index for index, result in enumerate(flow.results()) if math.isinf(result)],
        callbacks={index: attempts for index, end in enumerate(ends) if len(attempts := call_back(end)) > 1},
        median_ms=round(statistics.median(map(sub, ends, arrivals))),
    )


def to_milliseconds(seconds: Sequence[float]) -> list[int]:
    """Moments in whole milliseconds."""
    return [round(1000 * moment) for moment in seconds]


def assign_workers(flow: Flow, workers: int) -> list[int]:
    """Which worker serves each request: the first that is free, as they begin in the order of their arrival."""
    free = [-math.inf] * workers
    assigned = []
    for start, end in zip(flow.starts, flow.ends, strict=True):
        worker = next(index for index, since in enumerate(free) if since <= start)
        free[worker] = end
        assigned.append(worker)
    return assigned


def call_back(end: int) -> list[int]:
    """The moments of the callback attempts for a report that is ready at `end`."""
    down_from, down_until = RECEIVER_DOWN_MS
    attempts = [end]
    while down_from <= attempts[-1] < down_until:
        attempts.append(attempts[-1] + round(1000 * wait_after(len(attempts), WAITS_S)))
    return attempts
