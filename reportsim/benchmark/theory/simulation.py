"""The service without its overhead, event by event: first come first served, c workers, clients that leave.

J. Kiefer and J. Wolfowitz (1955): each customer is begun when the first of the workers becomes free. With the moments
at which the workers become free in a heap, a customer costs one heap operation.
"""

import math
from array import array
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from heapq import heappop, heappush, heapreplace
from operator import add, sub

from reportsim.benchmark.plan import Cancel


@dataclass(frozen=True, slots=True, eq=False)
class Flow:
    """What happened to each customer: seconds, in the order of arrival."""

    arrivals: Sequence[float]
    services: Sequence[float]
    deadlines: Sequence[float] | None
    """When each client leaves; None: no client does."""
    starts: "array[float]"
    """When a worker began; NaN: none ever did."""
    ends: "array[float]"
    """When a worker was done or stopped, or the request was dropped."""
    all_served: bool
    """Whether a worker began with every one of them."""

    def waits(self) -> list[float]:
        """The time each customer spent in the queue, or until it was dropped."""
        if self.all_served:
            return list(map(sub, self.starts, self.arrivals))
        return [
            (end if math.isnan(start) else start) - arrival
            for arrival, start, end in zip(self.arrivals, self.starts, self.ends, strict=True)
        ]

    def results(self) -> list[float]:
        """The moment at which each client has its result; infinite where it never has one."""
        done = map(add, self.starts, self.services)
        if self.deadlines is not None:
            return [end if end <= deadline else math.inf for end, deadline in zip(done, self.deadlines, strict=True)]
        return list(done) if self.all_served else [math.inf if math.isnan(end) else end for end in done]

    def busy(self) -> list[float]:
        """The worker-seconds spent on each customer."""
        spent = map(sub, self.ends, self.starts)
        return list(spent) if self.all_served else [0.0 if math.isnan(time) else time for time in spent]


def simulate(
    arrivals: Sequence[float],
    services: Sequence[float],
    *,
    workers: int,
    deadlines: Sequence[float] | None = None,
    cancel: Cancel = Cancel.NONE,
) -> Flow:
    """Runs customers through the service, from empty.

    `arrivals` ascend; `deadlines` are the moments at which clients leave, one for each arrival. Under `none` they
    change nothing for the workers; under `queued` a customer whose turn comes at its deadline or later was dropped at
    it; under `running` a worker stops at it, too.
    """
    free = [-math.inf] * workers
    starts, ends = array("d"), array("d")
    if deadlines is None or cancel is Cancel.NONE:
        begin = starts.append
        for arrival, service in zip(arrivals, services, strict=True):
            start = free[0]
            if start < arrival:
                start = arrival
            heapreplace(free, start + service)
            begin(start)
        ends = array("d", map(add, starts, services))
        return Flow(arrivals, services, deadlines, starts, ends, all_served=True)
    stops = cancel is Cancel.RUNNING
    for arrival, service, deadline in zip(arrivals, services, deadlines, strict=True):
        start = max(free[0], arrival)
        if start >= deadline:
            starts.append(math.nan)
            ends.append(max(deadline, arrival))
            continue
        end = start + service
        if stops and end > deadline:
            end = deadline
        heapreplace(free, end)
        starts.append(start)
        ends.append(end)
    return Flow(arrivals, services, deadlines, starts, ends, all_served=False)


def simulate_bounded(
    arrivals: Sequence[float],
    services: Sequence[float],
    *,
    workers: int,
    capacity: int,
    deadlines: Iterable[float],
) -> Flow:
    """Likewise with room for `capacity` customers, waiting and in service; customers that find none leave on arrival.

    `deadlines` bound the wait: customers that have not begun by then leave, and is out of the way from that moment on.
    """
    free = [-math.inf] * workers
    # The moments at which those who were let in leave again; all of them are still there at the latest arrival.
    inside: list[float] = []
    starts, ends, limits = array("d"), array("d"), array("d", deadlines)
    for arrival, service, deadline in zip(arrivals, services, limits, strict=True):
        while inside and inside[0] <= arrival:
            heappop(inside)
        if len(inside) >= capacity:
            starts.append(math.nan)
            ends.append(arrival)
            continue
        start = max(free[0], arrival)
        if start >= deadline:
            starts.append(math.nan)
            ends.append(deadline)
        else:
            heapreplace(free, start + service)
            starts.append(start)
            ends.append(start + service)
        heappush(inside, ends[-1])
    return Flow(arrivals, services, None, starts, ends, all_served=False)
