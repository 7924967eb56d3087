"""A run without a server: the records that an ideal one would leave."""

import functools
import math
import operator
from array import array
from typing import Final

from reportsim.benchmark.plan import Plan
from reportsim.benchmark.results.concurrency import integral, most_at_once, spans
from reportsim.benchmark.results.samples import Integrals, Outcome, Samples
from reportsim.benchmark.schedule import Schedule
from reportsim.benchmark.theory.replications import flow
from reportsim.benchmark.workload import Side
from reportsim.core.model import Mode

# What an idle machine takes on the way in and out, in seconds.
LAG_S: Final = 0.0004
ACCEPT_S: Final = 0.002
DELIVERY_S: Final = 0.002


def simulate_side(plan: Plan, schedule: Schedule, side: Side) -> tuple[Samples, Integrals]:
    """One side's samples and integrals: the schedule on an ideal server, with a little overhead at the edges."""
    samples = Samples.empty(side.name, schedule.due, schedule.bounds)
    parts = [_block(plan, schedule, samples, side.mode, block) for block in schedule.blocks]
    return samples, functools.reduce(operator.add, parts)


def _block(plan: Plan, schedule: Schedule, samples: Samples, mode: Mode, block: range) -> Integrals:
    part = slice(block.start, block.stop)
    # In the queue as late as sent and accepted; the client's patience has run since the intended time.
    ideal = flow(plan, mode, schedule.due[part], schedule.services[part], LAG_S + ACCEPT_S)
    samples.seen.started[part], samples.seen.ended[part] = ideal.starts, ideal.ends
    samples.seen.queued[part] = array("d", ideal.arrivals)
    timeout = plan.timeout_of(mode)
    for index, end in zip(block, ideal.results(), strict=True):
        due = schedule.due[index]
        sent, result, leaves = due + LAG_S, end + DELIVERY_S, due + timeout
        samples.sent[index] = sent
        in_time = result <= leaves
        samples.outcomes[index] = Outcome.OK if in_time else Outcome.CLIENT_TIMEOUT
        samples.result[index] = result if in_time else math.nan
        if mode is Mode.ASYNC:
            samples.accepted[index] = sent + 2 * ACCEPT_S
            samples.seen.held[index] = 2 * ACCEPT_S
        else:
            samples.accepted[index] = samples.result[index]
            samples.seen.held[index] = min(result, leaves) - sent
    return integrals_of(samples, block)


def integrals_of(samples: Samples, block: range) -> Integrals:
    """The integrals of one block from the records of its requests: what a server's own must agree with."""
    part = slice(block.start, block.stop)
    sent, queued, started = samples.sent[part], samples.seen.queued[part], samples.seen.started[part]
    ended, held = samples.seen.ended[part], samples.seen.held[part]
    left_queue = [end if math.isnan(start) else start for start, end in zip(started, ended, strict=True)]
    opened = list(spans(sent, [start + length for start, length in zip(sent, held, strict=True)]))
    waiting = list(spans(queued, left_queue))
    moments = [moment for pair in opened for moment in pair] + [
        moment for column in (ended, samples.result[part]) for moment in column if not math.isnan(moment)
    ]
    return Integrals(
        elapsed_s=max(moments, default=0.0),
        open_s=integral(opened),
        open_max=most_at_once(opened),
        busy_s=integral(spans(started, ended)),
        queue_s=integral(waiting),
        queue_max=most_at_once(waiting),
        accepted=sum(not math.isnan(moment) for moment in queued),
    )
