"""A plan run again and again with different seeds: what a run of this length can be expected to show."""

import math
import statistics
from array import array
from collections.abc import Sequence
from dataclasses import dataclass
from random import Random
from typing import Final

from reportsim.benchmark.plan import Plan
from reportsim.benchmark.schedule import draw_blocks
from reportsim.benchmark.theory.figures import Figures, figures
from reportsim.benchmark.theory.simulation import Flow, simulate
from reportsim.core.model import Mode

MOST: Final = 500
FEWEST: Final = 10
# Customers to simulate in all, about two seconds' worth; long runs need few replications, since chance evens out.
CUSTOMERS: Final = 1_000_000
# From this many replications on, a band is read off their order instead of their spread.
ORDERED: Final = 200
# Student's t at 97.5 % for 9 degrees of freedom; a little too wide for more.
STUDENT: Final = 2.262


@dataclass(frozen=True, slots=True)
class Band:
    """What to expect of a figure, and where 95 % of runs lie."""

    value: float
    low: float
    high: float

    def __contains__(self, measured: float) -> bool:
        return self.low <= measured <= self.high

    def as_json(self) -> dict[str, float]:
        """The three numbers."""
        return {"value": self.value, "low": self.low, "high": self.high}


def how_many(count: int) -> int:
    """How many replications of a run with so many requests are worth their time."""
    return min(max(CUSTOMERS // count, FEWEST), MOST)


def replicate(plan: Plan, number: int) -> dict[Mode, Figures]:
    """One run of the plan on an ideal server, with arrivals and service times of its own."""
    source = Random(f"{plan.seed}/replication/{number}")
    blocks = []
    for due in draw_blocks(plan, source):
        blocks.append((due, plan.service.draws_s(len(due), source)))
    found = {Mode.ASYNC: figures(plan, Mode.ASYNC, [(flow(plan, Mode.ASYNC, *block), block[0]) for block in blocks])}
    if plan.client_timeout_s is None:
        return {Mode.SYNC: found[Mode.ASYNC], **found}
    return {
        Mode.SYNC: figures(plan, Mode.SYNC, [(flow(plan, Mode.SYNC, *block), block[0]) for block in blocks]),
        **found,
    }


def flow(plan: Plan, mode: Mode, intended: "array[float]", services: Sequence[float], delay_s: float = 0.0) -> Flow:
    """One block of one side on an ideal server, where requests arrive as intended, or a little later.

    Clients give up at a time from the intended one, whatever the delay.
    """
    timeout = plan.timeout_of(mode)
    arrivals = array("d", (due + delay_s for due in intended)) if delay_s else intended
    deadlines = None if math.isinf(timeout) else array("d", (due + timeout for due in intended))
    return simulate(arrivals, services, workers=plan.workers, deadlines=deadlines, cancel=plan.cancel_of(mode))


def bands(plan: Plan, replications: int | None = None) -> dict[Mode, dict[str, Band]]:
    """The 95 % bands of each side's figures, by the names of `Figures.flat`, over the runs that have any request."""
    drawn = [replicate(plan, number) for number in range(replications or how_many(plan.expected_count))]
    runs = [run for run in drawn if run[Mode.ASYNC].busy_workers] or drawn
    return {
        mode: {name: band([run[mode].flat()[name] for run in runs]) for name in runs[0][mode].flat()} for mode in Mode
    }


def band(values: Sequence[float]) -> Band:
    """The middle of some runs, and the interval in which 95 % of further runs lie."""
    if len(values) < ORDERED:
        mean = statistics.fmean(values)
        # A prediction interval: the spread of the runs, and the doubt about their mean.
        reach = STUDENT * statistics.stdev(values) * math.sqrt(1 + 1 / len(values)) if len(values) > 1 else 0.0
        return Band(mean, max(mean - reach, 0.0), mean + reach)
    ordered = sorted(values)
    out = int(0.025 * len(ordered))
    return Band(statistics.median(ordered), ordered[out], ordered[-1 - out])
