"""The run's measured figures beside a simulation of the run's own arrivals and service times."""

import math
import statistics
from array import array
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

from reportsim.benchmark.plan import Cancel, Plan
from reportsim.benchmark.results.samples import Integrals, Outcome, Samples
from reportsim.benchmark.results.summary import drain_s
from reportsim.benchmark.schedule import Schedule
from reportsim.benchmark.statistics.percentile_levels import rank
from reportsim.benchmark.theory.figures import LEVELS, Figures, figures
from reportsim.benchmark.theory.simulation import Flow, simulate

Json = dict[str, Any]
INSTANT_S: Final = 1e-6


@dataclass(frozen=True, slots=True)
class Room:
    """By how much a figure may miss what is known of it.

    Attributes:
        band: beyond the predicted band, which leaves no room for any overhead.
        replay: from the replay, and `share` of the figure as well.
    """

    band: float
    replay: float
    share: float = 0.0


COMPARED: Final = {
    "mean_wait_ms": Room(1.0, 5.0, 0.02),
    "timeout_share": Room(0.002, 0.01),
    "late_share": Room(0.002, 0.01),
    "mean_in_system": Room(0.05, 0.05, 0.02),
    "busy_workers": Room(0.05, 0.05, 0.02),
    "wasted_share": Room(0.002, 0.01),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Residual:
    """A figure as measured, as the simulation has it for the run's own load, and as it was expected before the run."""

    measured: float
    replayed: float
    expected: Mapping[str, float]
    inside: bool
    """Whether the predicted 95 % band holds what was measured."""
    explained: bool
    """Whether the replay agrees with what was measured."""

    def as_json(self) -> Json:
        """The residual as the API has it."""
        return {
            "measured": round(self.measured, 6),
            "replayed": round(self.replayed, 6),
            "expected": dict(self.expected),
            "inside": self.inside,
            "explained": self.explained,
        }


def measured(plan: Plan, samples: Samples, integrals: Integrals) -> Figures:
    """The figures of a run as it was, by the definitions that the simulation has."""
    times = sorted(samples.times_to_result()) or [math.inf]
    timeout = plan.timeout_of(plan.mode_of(samples.side))
    count, bound = len(times), 0.0 if math.isinf(timeout) else 1000 * timeout
    waits = [wait for wait in samples.seen.waits() if not math.isnan(wait)]
    elapsed = integrals.elapsed_s or math.inf
    longest = max(bound, max((1000 * time for time in times if time < math.inf), default=0.0))
    return Figures(
        mean_wait_ms=1000 * sum(waits) / len(waits) if waits else 0.0,
        timeout_share=samples.outcomes.count(Outcome.CLIENT_TIMEOUT) / count,
        late_share=sum(plan.slo_s < time < math.inf for time in times) / count,
        time_to_result_ms={
            level: min(1000 * times[rank(count, share) - 1], longest) for level, share in LEVELS.items()
        },
        mean_in_system=(integrals.queue_s + integrals.busy_s) / elapsed,
        busy_workers=integrals.busy_s / elapsed,
        wasted_share=wasted_share(samples),
        drain_s=drain_s(samples),
    )


def wasted_share(samples: Samples) -> float:
    """Of all worker-seconds, those spent on requests whose client had left."""
    spent = wasted = 0.0
    for started, ended, outcome in zip(samples.seen.started, samples.seen.ended, samples.outcomes, strict=True):
        if ended >= started:
            spent += ended - started
            wasted += ended - started if outcome == Outcome.CLIENT_TIMEOUT else 0.0
    return wasted / spent if spent else 0.0


def conditional(plan: Plan, samples: Samples, schedule: Schedule) -> Figures:
    """The figures of a simulation with the run's own arrivals at the queue and its own service times.

    No chance is left in it: the measured figures must be met closely. A service time that was cut short counts as
    planned, as does one that never began. What lies outside of the queue is the run's own, too: which requests never
    reached it, how long results were on their way, and how soon it was noticed that a client left.
    """
    found = figures(
        plan, plan.mode_of(samples.side), [_replayed(plan, samples, schedule, block) for block in samples.blocks]
    )
    came = sum(not math.isnan(moment) for moment in samples.seen.queued)
    gone = sum(
        math.isnan(moment) and outcome == Outcome.CLIENT_TIMEOUT
        for moment, outcome in zip(samples.seen.queued, samples.outcomes, strict=True)
    )
    return replace(
        found,
        timeout_share=(found.timeout_share * came + gone) / max(len(samples), 1),
        late_share=found.late_share * came / max(len(samples), 1),
    )


def _replayed(plan: Plan, samples: Samples, schedule: Schedule, block: range) -> tuple[Flow, "array[float]"]:
    order = sorted(
        (index for index in block if not math.isnan(samples.seen.queued[index])), key=samples.seen.queued.__getitem__
    )
    mode = plan.mode_of(samples.side)
    timeout, cancel = plan.timeout_of(mode), plan.cancel_of(mode)
    delivery = deliveries_s(samples, timeout)
    flow = simulate(
        array("d", (samples.seen.queued[index] for index in order)),
        array("d", (service_s(samples, schedule, index) for index in order)),
        workers=plan.workers,
        deadlines=None if math.isinf(timeout) else noticed(samples, timeout, cancel, order),
        cancel=cancel,
    )
    # For its client, a result is there once it has been delivered.
    due = array("d", (samples.due[index] - delivery[index] for index in order))
    if not math.isinf(timeout):
        flow = replace(flow, deadlines=array("d", (moment + timeout for moment in due)))
    return flow, due


def deliveries_s(samples: Samples, timeout_s: float) -> "array[float]":
    """The delivery time of each result: at least until the client left, and the median where there was no result."""
    leaves = [due + timeout_s for due in samples.due]
    known = [result - ended for result, ended in zip(samples.result, samples.seen.ended, strict=True)]
    middle = median(known)
    assumed = (
        left - ended + INSTANT_S if ended <= left < math.inf else middle
        for ended, left in zip(samples.seen.ended, leaves, strict=True)
    )
    return array("d", (way if way >= 0 else other for way, other in zip(known, assumed, strict=True)))


def noticed(samples: Samples, timeout_s: float, cancel: Cancel, order: Sequence[int]) -> "array[float]":
    """When the server noticed that each client left: when it dropped the work, or as late as in the median.

    Under `queued` a worker that began with the work of a client who had left did so before that was noticed.
    """
    late = array("d")
    for index in order:
        began = samples.seen.started[index]
        dropped = cancel is Cancel.RUNNING or math.isnan(began)
        seen = samples.seen.ended[index] if dropped else began + INSTANT_S
        left = samples.outcomes[index] == Outcome.CLIENT_TIMEOUT
        late.append(seen - samples.due[index] - timeout_s if left else math.nan)
    middle = median(late)
    leaves = (samples.due[index] + timeout_s for index in order)
    return array("d", (leave + (by if by >= 0 else middle) for leave, by in zip(leaves, late, strict=True)))


def median(spans: Iterable[float]) -> float:
    """The median of the spans that are known and not below 0; 0 where there is none."""
    return statistics.median([span for span in spans if span >= 0] or [0.0])


def service_s(samples: Samples, schedule: Schedule, index: int) -> float:
    """A request's whole service time: as measured, or as planned where it was not served to the end."""
    spent = samples.seen.ended[index] - samples.seen.started[index]
    planned = schedule.services[index]
    # A worker that was stopped early has spent less than planned.
    cut = samples.outcomes[index] == Outcome.CLIENT_TIMEOUT and spent < planned
    return planned if math.isnan(spent) or cut else spent


def residuals(prediction: Json, replayed: Figures, found: Figures) -> dict[str, Residual]:
    """Each figure of one side beside its replay and its prediction, of which `prediction` is the side's part."""
    table = {}
    for name, room in COMPARED.items():
        value, replay, band = getattr(found, name), getattr(replayed, name), prediction[name]
        table[name] = Residual(
            measured=value,
            replayed=replay,
            expected=band,
            inside=band["low"] - room.band <= value <= band["high"] + room.band,
            explained=abs(value - replay) <= room.replay + room.share * max(abs(value), abs(replay)),
        )
    return table
