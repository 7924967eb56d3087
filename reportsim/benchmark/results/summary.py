"""From records to a side's result: the object S of the API, over all that were offered."""

import math
from array import array
from collections import Counter
from collections.abc import Iterable
from itertools import compress, pairwise
from operator import sub
from typing import Any, Final

from reportsim.benchmark.plan import Plan
from reportsim.benchmark.results.percentiles import percentiles, rank
from reportsim.benchmark.results.samples import Integrals, Outcome, Samples
from reportsim.core.model import Mode

Json = dict[str, Any]
SEGMENTS: Final = ("lag", "accept", "queue", "service", "delivery")


def side_result(samples: Samples, plan: Plan, integrals: Integrals) -> Json:
    """The result of one side, times in milliseconds, rates per second of the time until the side was empty again."""
    outcomes = outcome_counts(samples, plan.slo_s)
    results = outcomes["ok"] + outcomes["ok_late"]
    elapsed = integrals.elapsed_s
    times = samples.times_to_result()
    bound = bound_ms(plan, samples.mode)
    return {
        "offered": len(samples),
        "sent": sum(not math.isnan(moment) for moment in samples.sent),
        "outcomes": outcomes,
        "duplicates": samples.duplicates,
        "sched_lag_ms": lag(samples),
        "accept_ms": as_json(accept_times(samples), bound),
        "time_to_result_ms": as_json(times, bound),
        "from_send_ms": as_json(from_send(samples, times), bound),
        "segments_ms": segments(samples),
        "goodput": per_second(outcomes["ok"], elapsed),
        "throughput": per_second(results, elapsed),
        "drain_s": round(drain_s(samples), 6),
        "open_connections": {"mean": per_second(integrals.open_s, elapsed), "max": integrals.open_max},
        "busy_workers_mean": per_second(integrals.busy_s, elapsed),
        "queue": {"mean": per_second(integrals.queue_s, elapsed), "max": integrals.queue_max},
        "wasted_share": round(wasted_share(samples), 6),
    }


def per_second(amount: float, seconds: float) -> float:
    """An amount per second, 0 where no time went by."""
    return round(amount / seconds, 6) if seconds else 0.0


def as_json(times_s: Iterable[float], bound_ms: float) -> Json:
    """The percentiles of some times."""
    found = percentiles((1000 * time for time in times_s), bound_ms)
    return {level: value.as_json() for level, value in found.items()}


def outcome_counts(samples: Samples, slo_s: float) -> dict[str, int]:
    """How many requests ended how: each in exactly one way."""
    found = Counter(samples.outcomes)
    late = sum(slo_s < time < math.inf for time in samples.times_to_result())
    results = found[Outcome.OK] + found[Outcome.OK_LATE]
    counts = {outcome.label: found[outcome] for outcome in Outcome}
    return counts | {"ok": results - late, "ok_late": late}


def lag(samples: Samples) -> Json:
    """How late requests were sent, in milliseconds: the generator's own fault."""
    lags = sorted(
        1000 * (sent - due) for sent, due in zip(samples.sent, samples.intended, strict=True) if not math.isnan(sent)
    )
    if not lags:
        return {"p50": None, "p99": None, "max": None}
    picked = {level: lags[rank(len(lags), share) - 1] for level, share in (("p50", 0.5), ("p99", 0.99))}
    return {level: round(value, 3) for level, value in (picked | {"max": lags[-1]}).items()}


def accept_times(samples: Samples) -> "array[float]":
    """Seconds from the intended time to the first final status; infinite where none came."""
    return array(
        "d",
        (
            math.inf if math.isnan(accepted) else accepted - due
            for due, accepted in zip(samples.intended, samples.accepted, strict=True)
        ),
    )


def from_send(samples: Samples, times: "array[float]") -> "array[float]":
    """The time to result as most tools measure it, from when a request was sent; it hides the generator's lag."""
    return array(
        "d",
        (
            time if math.isinf(time) or math.isnan(sent) else time - (sent - due)
            for time, due, sent in zip(times, samples.intended, samples.sent, strict=True)
        ),
    )


def segment_columns(samples: Samples) -> "tuple[array[float], ...]":
    """The segments of every request in seconds; those of one add up to its time to result. NaN where one is unknown."""
    moments = (samples.intended, samples.sent, samples.queued, samples.started, samples.ended, samples.result)
    return tuple(array("d", map(sub, later, earlier)) for earlier, later in pairwise(moments))


def segments(samples: Samples) -> Json:
    """The means of the segments over all requests with a result and the server's record of them."""
    columns = segment_columns(samples)
    known = [
        outcome <= Outcome.OK_LATE and not math.isnan(sum(spent))
        for outcome, *spent in zip(samples.outcomes, *columns, strict=True)
    ]
    count = sum(known)
    if not count:
        return dict.fromkeys(SEGMENTS)
    return {
        name: round(1000 * math.fsum(compress(column, known)) / count, 3)
        for name, column in zip(SEGMENTS, columns, strict=True)
    }


def drain_s(samples: Samples) -> float:
    """Seconds from the last arrival of a block until nothing was left to do, the longer one of both blocks."""
    longest = 0.0
    for block in samples.blocks:
        part = slice(block.start, block.stop)
        last = max(samples.intended[part], default=0.0)
        moments = (*samples.ended[part], *samples.result[part])
        longest = max(longest, max((moment for moment in moments if not math.isnan(moment)), default=last) - last)
    return longest


def wasted_share(samples: Samples) -> float:
    """Of all worker-seconds, those spent on requests whose client had left."""
    spent = wasted = 0.0
    for started, ended, outcome in zip(samples.started, samples.ended, samples.outcomes, strict=True):
        if not math.isnan(started) and not math.isnan(ended):
            spent += ended - started
            wasted += ended - started if outcome == Outcome.CLIENT_TIMEOUT else 0.0
    return wasted / spent if spent else 0.0


def bound_ms(plan: Plan, mode: Mode) -> float:
    """How long at least an unresolved request of a side has been waited for, in milliseconds."""
    timeout = plan.timeout_of(mode)
    return 0.0 if math.isinf(timeout) else 1000 * timeout
