"""Measurement beside theory: the run's own figures, and what the simulation says of the run's own load."""

import math
import statistics
from array import array
from collections.abc import Iterable
from dataclasses import replace
from typing import Any, Final

from reportsim.benchmark.figures import LEVELS, Figures, figures
from reportsim.benchmark.percentiles import rank
from reportsim.benchmark.plan import Cancel, Plan
from reportsim.benchmark.results import bound_ms, drain_s, wasted_share
from reportsim.benchmark.samples import Integrals, Outcome, Samples
from reportsim.benchmark.schedule import Schedule
from reportsim.benchmark.simulation import Flow, simulate

Json = dict[str, Any]
# What is compared, and by how much it may miss a band that leaves no room for any overhead.
COMPARED: Final = {
    "mean_wait_ms": 1.0,
    "timeout_share": 0.002,
    "late_share": 0.002,
    "mean_in_system": 0.05,
    "busy_workers": 0.05,
    "wasted_share": 0.002,
}


def measured(plan: Plan, samples: Samples, integrals: Integrals) -> Figures:
    """The figures of a run as it was, by the definitions that the simulation has."""
    times = sorted(samples.times_to_result())
    count, bound = len(times), bound_ms(plan, samples.mode)
    waits = [wait for wait in samples.waits() if not math.isnan(wait)]
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


def conditional(plan: Plan, samples: Samples, schedule: Schedule) -> Figures:
    """What the simulation says, fed with the run's own arrivals at the queue and its own service times.

    No chance is left in it: the measured figures must be met closely. A service time that was cut short counts as
    planned, as does one that never began. Requests that never reached the queue are left out. The way to the client and
    back, which the simulation does not have, takes its median time.
    """
    return figures(plan, samples.mode, [_replayed(plan, samples, schedule, block) for block in samples.blocks])


def _replayed(plan: Plan, samples: Samples, schedule: Schedule, block: range) -> tuple[Flow, "array[float]"]:
    order = sorted((index for index in block if not math.isnan(samples.queued[index])), key=samples.queued.__getitem__)
    cancel = plan.cancel_of(samples.mode)
    timeout, delivery = plan.timeout_of(samples.mode), delivery_s(samples)
    # For its client, a result is there once it has been delivered.
    intended = array("d", (samples.intended[index] - delivery for index in order))
    noticed = (
        delivery
        + timeout
        + (0.0 if math.isinf(timeout) else notice_s(samples, timeout, stops=cancel is Cancel.RUNNING))
    )
    flow = simulate(
        array("d", (samples.queued[index] for index in order)),
        array("d", (service_s(samples, schedule, index) for index in order)),
        workers=plan.workers,
        deadlines=None if math.isinf(timeout) else array("d", (due + noticed for due in intended)),
        cancel=cancel,
    )
    if not math.isinf(timeout):
        flow = replace(flow, deadlines=array("d", (due + timeout for due in intended)))
    return flow, intended


def delivery_s(samples: Samples) -> float:
    """From the end of the work to the client, in the median."""
    return middle(samples.result[index] - samples.ended[index] for index in range(len(samples)))


def notice_s(samples: Samples, timeout_s: float, *, stops: bool) -> float:
    """From when a client leaves until what it left is dropped, in the median; `stops`: work in progress, too."""
    return middle(
        samples.ended[index] - samples.intended[index] - timeout_s
        for index in range(len(samples))
        if samples.outcomes[index] == Outcome.CLIENT_TIMEOUT and (stops or math.isnan(samples.started[index]))
    )


def middle(spans: Iterable[float]) -> float:
    """The median of the spans that are none below 0, 0 where there is none."""
    return statistics.median([span for span in spans if span >= 0] or [0.0])


def service_s(samples: Samples, schedule: Schedule, index: int) -> float:
    """A request's whole service time: as measured, or as planned where it was not served to the end."""
    spent = samples.ended[index] - samples.started[index]
    planned = schedule.services[index]
    # A worker that was stopped early has spent less than planned.
    cut = samples.outcomes[index] == Outcome.CLIENT_TIMEOUT and spent < planned
    return planned if math.isnan(spent) or cut else spent


def residuals(prediction: Json, replayed: Figures, found: Figures) -> Json:
    """Each figure of one side as measured, as the simulation has it for this very load, and as it was expected.

    `prediction` is the side's part of the prediction; `inside` says whether the 95 % band holds the measured one.
    """
    table = {}
    for name, room in COMPARED.items():
        value, replay, band = getattr(found, name), getattr(replayed, name), prediction[name]
        table[name] = {
            "measured": round(value, 6),
            "replayed": round(replay, 6),
            "expected": band,
            "inside": band["low"] - room <= value <= band["high"] + room,
        }
    return table
