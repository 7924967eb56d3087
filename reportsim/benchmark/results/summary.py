"""From records to a side's result: the object S of the API, over all requests offered.

Times, shares and rates are estimated per block, so that every interval has blocks as its units. Rates are per second of
the arrival window, which is `block_s` long in each block; means over time are taken over that window, too.
"""

import math
from array import array
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import compress
from operator import sub
from typing import Any, Final

from reportsim.benchmark.results.concurrency import Span, integral, most_at_once
from reportsim.benchmark.results.samples import Outcome, Samples
from reportsim.benchmark.results.side_samples import RESULTS, Side, segment_columns
from reportsim.benchmark.statistics.intervals import (
    BlockTimes,
    Estimate,
    Quantile,
    estimate_mean,
    estimate_ratio,
    estimate_share,
)
from reportsim.benchmark.statistics.percentile_levels import LEVELS, rank

Json = dict[str, Any]
SEGMENTS: Final = ("lag", "accept", "queue", "service", "delivery")
LAG_LEVELS: Final = {"p50": 0.5, "p99": 0.99, "p99_9": 0.999}


@dataclass(frozen=True, slots=True, kw_only=True)
class TimeSummary:
    """The quantiles and the mean of a time, in milliseconds."""

    quantiles: dict[str, Quantile]
    max: Quantile
    mean: Quantile

    def as_json(self) -> Json:
        """The quantiles by level, `max` and `mean`."""
        shown = {level: quantile.as_json() for level, quantile in self.quantiles.items()}
        return shown | {"max": self.max.as_json(), "mean": self.mean.as_json()}


@dataclass(frozen=True, slots=True, kw_only=True)
class Occupancy:
    """How many things overlapped: the mean over the arrival windows, and the most at any moment."""

    mean: Estimate
    max: int

    def as_json(self) -> Json:
        """Both, with the interval of the mean beside it."""
        return {"mean": self.mean.value, "mean_interval": ends(self.mean), "max": self.max} if self.known else NOTHING

    @property
    def known(self) -> bool:
        """Whether the moments were recorded."""
        return self.mean.value is not None


NOTHING: Final[Json] = {"mean": None, "mean_interval": {"low": None, "high": None}, "max": None}


@dataclass(frozen=True, slots=True, kw_only=True)
class SideResult:
    """What was measured of one side."""

    offered: int
    sent: int
    outcomes: dict[str, int]
    duplicates: int
    sched_lag_ms: dict[str, float | None]
    accept_ms: TimeSummary
    time_to_result_ms: TimeSummary
    from_send_ms: TimeSummary
    earliest_ms: TimeSummary | None
    """Of results that were polled: from when each request was due until there was surely no result yet."""
    segments_ms: dict[str, float | None]
    block_sizes: Sequence[int]
    block_outcomes: dict[str, list[int]]
    """Per block, the requests with each outcome."""
    shares: dict[str, Estimate]
    goodput: Estimate
    throughput: Estimate
    drain_s: float
    open_connections: Occupancy
    busy_workers: Estimate
    queue: Occupancy
    wasted_share: Estimate

    def as_json(self) -> Json:
        """The object S of the API."""
        return {
            "offered": self.offered,
            "sent": self.sent,
            "outcomes": self.outcomes,
            "duplicates": self.duplicates,
            "sched_lag_ms": self.sched_lag_ms,
            "accept_ms": self.accept_ms.as_json(),
            "time_to_result_ms": self.time_to_result_ms.as_json(),
            "from_send_ms": self.from_send_ms.as_json(),
            **({} if self.earliest_ms is None else {"earliest_ms": self.earliest_ms.as_json()}),
            "segments_ms": self.segments_ms,
            "shares": {name: share.as_json(6) for name, share in self.shares.items()},
            **with_interval("goodput", self.goodput),
            **with_interval("throughput", self.throughput),
            "drain_s": round(self.drain_s, 6),
            "open_connections": self.open_connections.as_json(),
            **with_interval("busy_workers_mean", self.busy_workers),
            "queue": self.queue.as_json(),
            **with_interval("wasted_share", self.wasted_share),
        }


def with_interval(name: str, estimate: Estimate) -> Json:
    """An estimate as a number and, beside it, its interval."""
    value = None if estimate.value is None else round(estimate.value, 6)
    return {name: value, f"{name}_interval": ends(estimate)}


def ends(estimate: Estimate) -> Json:
    """The ends of an interval."""
    shown = estimate.as_json(6)
    return {"low": shown["low"], "high": shown["high"]}


def summarise_times(side: Side, times: Sequence[float], cut_off_s: float, limit_s: float) -> TimeSummary:
    """Quantiles and the mean of some times of this side, of which infinite ones are at least `cut_off_s`."""
    known = [[1000 * time for time in block if not math.isnan(time)] for block in side.per_block(times)]
    found = BlockTimes(known, 1000 * cut_off_s)
    mean = found.mean(1000 * limit_s)
    return TimeSummary(
        quantiles={level: found.quantile(share) for level, share in LEVELS.items()},
        max=found.maximum(),
        mean=Quantile(mean.value, mean.low, mean.high, n=found.count),
    )


def summarise_earliest(side: Side, limit_s: float) -> TimeSummary | None:
    """The lower bounds of times to results that were polled: each result was there between its bound and its time."""
    if side.samples.earliest is None:
        return None
    bounds = zip(side.times, side.samples.earliest, side.samples.due, strict=True)
    times = array("d", (bound - due if time < math.inf else time for time, bound, due in bounds))
    return summarise_times(side, times, side.cut_off_s(), limit_s)


def estimate_rate(side: Side, counts: Sequence[float]) -> Estimate:
    """What came per second of the arrival window."""
    window = side.design.block_s
    return estimate_mean([count / window for count in counts]) if window else Estimate(None)


def estimate_occupancy(side: Side, overlapping: Iterable[Iterable[Span]]) -> Occupancy:
    """The overlap of the spans of each block."""
    blocks, window = [list(found) for found in overlapping], side.design.block_s
    if not any(blocks) or not window:
        return Occupancy(mean=Estimate(None), max=0)
    areas = [integral(clip(found, window)) / window for found in blocks]
    return Occupancy(mean=rounded(estimate_mean(areas)), max=max(map(most_at_once, blocks)))


def rounded(estimate: Estimate) -> Estimate:
    """An estimate to six digits."""
    return Estimate(**estimate.as_json(6))


def clip(overlapping: Iterable[Span], until: float) -> Iterator[Span]:
    """The parts of spans before a moment."""
    return ((start, min(end, until)) for start, end in overlapping if start < until)


def summarise_side(side: Side, limit_s: float) -> SideResult:
    """The result of one side; means are of times that are cut off at `limit_s`."""
    samples = side.samples
    found = Counter(side.outcomes)
    sizes = [len(block) for block in samples.blocks]
    counts = {outcome.label: side.count_per_block(each is outcome for each in side.outcomes) for outcome in Outcome}
    results = [ok + late for ok, late in zip(counts["ok"], counts["ok_late"], strict=True)]
    busy = estimate_occupancy(side, side.spans_per_block(samples.seen.started, samples.seen.ended))
    return SideResult(
        offered=len(samples),
        sent=sum(not math.isnan(moment) for moment in samples.sent),
        outcomes={outcome.label: found[outcome] for outcome in Outcome},
        duplicates=samples.duplicates,
        sched_lag_ms=schedule_lag(samples),
        accept_ms=summarise_times(side, side.accept_times, side.accept_cut_off_s(), limit_s),
        time_to_result_ms=summarise_times(side, side.times, side.cut_off_s(), limit_s),
        from_send_ms=summarise_times(side, side.from_send, side.cut_off_s(), limit_s),
        earliest_ms=summarise_earliest(side, limit_s),
        segments_ms=segments(samples),
        block_sizes=sizes,
        block_outcomes=counts,
        shares={name: estimate_share(events, sizes) for name, events in counts.items()},
        goodput=estimate_rate(side, counts["ok"]),
        throughput=estimate_rate(side, results),
        drain_s=drain_s(samples),
        open_connections=estimate_occupancy(side, side.spans_per_block(samples.sent, side.held_until())),
        busy_workers=busy.mean,
        queue=estimate_occupancy(side, side.spans_per_block(samples.seen.queued, side.left_queue())),
        wasted_share=wasted_share(side),
    )


def schedule_lag(samples: Samples) -> dict[str, float | None]:
    """How late requests were sent, in milliseconds: the generator's own fault."""
    lags = sorted(1000 * (sent - due) for sent, due in zip(samples.sent, samples.due, strict=True) if sent >= 0)
    if not lags:
        return dict.fromkeys((*LAG_LEVELS, "max"))
    shown = {level: lags[rank(len(lags), share) - 1] for level, share in LAG_LEVELS.items()}
    return {level: round(value, 3) for level, value in (shown | {"max": lags[-1]}).items()}


def segments(samples: Samples) -> dict[str, float | None]:
    """The means of the segments over all requests with a result and the server's record of them."""
    columns = segment_columns(samples)
    known = [
        outcome in RESULTS and not math.isnan(sum(spent))
        for outcome, *spent in zip(samples.outcomes, *columns, strict=True)
    ]
    count = sum(known)
    if not count:
        return reported_segments(samples)
    return {
        name: round(1000 * math.fsum(compress(column, known)) / count, 3)
        for name, column in zip(SEGMENTS, columns, strict=True)
    }


def reported_segments(samples: Samples) -> dict[str, float | None]:
    """The segments that clients know by themselves, and the service time that a server has reported to them."""
    found: dict[str, float | None] = dict.fromkeys(SEGMENTS)
    if samples.server is None:
        lags = map(sub, samples.sent, samples.due)
        accepts = map(sub, samples.accepted, samples.sent)
        for name, column in (("lag", lags), ("accept", accepts), ("service", samples.reported or ())):
            known = [
                spent
                for outcome, spent in zip(samples.outcomes, column, strict=False)
                if outcome in RESULTS and not math.isnan(spent)
            ]
            found[name] = round(1000 * math.fsum(known) / len(known), 3) if known else None
    return found


def drain_s(samples: Samples) -> float:
    """Seconds from the last arrival of a block until nothing was left to do, the longest of all blocks."""
    longest = 0.0
    for block in samples.blocks:
        part = slice(block.start, block.stop)
        last = max(samples.due[part], default=0.0)
        moments = (*samples.seen.ended[part], *samples.result[part])
        longest = max(longest, max((moment for moment in moments if moment >= 0), default=last) - last)
    return longest


def wasted_share(side: Side) -> Estimate:
    """Of all worker-seconds, those spent on requests whose client had left."""
    samples = side.samples
    spent, wasted = array("d"), array("d")
    for started, ended, outcome in zip(samples.seen.started, samples.seen.ended, samples.outcomes, strict=True):
        seconds = ended - started if ended >= started else 0.0
        spent.append(seconds)
        wasted.append(seconds if outcome == Outcome.CLIENT_TIMEOUT else 0.0)
    shares = estimate_ratio(
        [math.fsum(part) for part in side.per_block(wasted)], [math.fsum(part) for part in side.per_block(spent)]
    )
    return clamp(shares)


def clamp(share: Estimate) -> Estimate:
    """A share whose interval does not leave 0…1."""
    low, high = share.low, share.high
    return Estimate(share.value, None if low is None else max(low, 0.0), None if high is None else min(high, 1.0))
