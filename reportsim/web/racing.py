"""A race as it goes or as it went: what the recorder sees meanwhile, what the samples hold afterwards."""

import math
import time
from collections.abc import Mapping, Sequence
from typing import Final

from aiohttp import web

from reportsim.benchmark.plan import Plan
from reportsim.benchmark.recorder import Recorder, Side
from reportsim.benchmark.samples import Outcome, Samples
from reportsim.core.model import Mode
from reportsim.store import runs as store
from reportsim.store.runs import Attempted, Benchmark
from reportsim.web.keys import ENGINE, RUNNER
from reportsim.web.races import NONE, Attempt, Lane, Lap, Race, last_ms

MOST_ATTEMPTS: Final = 1_000
# Attempts of each request of the async side, in milliseconds from when it was accepted.
Deliveries = Mapping[int, Sequence[Attempt]]


async def read_race(request: web.Request, run: Benchmark, expected: Race) -> Race:
    """A race at this moment; it is drawn at least as long as was expected."""
    pool, current = request.app[ENGINE].pool, request.app[RUNNER].current
    rows = await store.attempts(pool, run.id, MOST_ATTEMPTS)
    plan, found = Plan.from_json(run.plan), deliveries(rows)
    samples = await store.samples(pool, run.id) if run.result else None
    if samples is not None:
        sides = {side.mode: side for side in map(Samples.unpack, samples)}
        lanes = [finished_lane(plan, sides[mode], found) for mode in Mode]
    elif current is not None and current.id == run.id:
        lanes = live_lanes(current.recorder, found)
    else:
        lanes = [Lane(mode=mode, laps=[], now=0.0) for mode in Mode]
    return Race(
        lanes=lanes,
        expected=False,
        id=str(run.id),
        status=run.status,
        at_least_ms=0.0 if samples is not None else expected.now,
        hashes=frozenset(row.sha256 for row in rows if row.sha256),
        trouble=run.error["detail"] if run.error else None,
    )


def deliveries(rows: Sequence[Attempted]) -> dict[int, list[Attempt]]:
    """The callback attempts by index, which ends the callback's URL."""
    found: dict[int, list[Attempt]] = {}
    for row in rows:
        index = (row.callback_url or "").rpartition("/")[2]
        if row.attempted_at is None or row.response_time_ms is None or not index.isdigit():
            continue
        start = (row.attempted_at - row.created_at).total_seconds() * 1000
        attempt = Attempt(start=start, end=start + row.response_time_ms, delivered=bool(row.success))
        found.setdefault(int(index), []).append(attempt)
    return found


def moved(attempts: Sequence[Attempt], by: float) -> list[Attempt]:
    """Attempts on another clock."""
    return [Attempt(start=item.start + by, end=item.end + by, delivered=item.delivered) for item in attempts]


def live_lanes(recorder: Recorder, found: Deliveries) -> list[Lane]:
    """Both lanes as the server sees them at this moment."""
    queued = [moment for side in recorder.sides.values() for moment in side.queued if not math.isnan(moment)]
    start = min(queued, default=NONE)
    now = 0.0 if math.isnan(start) else 1000 * (time.monotonic() - start)
    return [
        Lane(
            mode=mode,
            laps=[live_lap(mode, side, index, start, found.get(index, ())) for index in range(recorder.count)],
            now=now,
        )
        for mode, side in recorder.sides.items()
    ]


def live_lap(mode: Mode, side: Side, index: int, start: float, attempts: Sequence[Attempt]) -> Lap:
    """One request at this moment."""
    queued, started, ended = (1000 * (column[index] - start) for column in (side.queued, side.started, side.ended))
    left = queued + 1000 * side.held[index]
    gave_up = mode is Mode.SYNC and not math.isnan(left) and not left >= ended
    delivered = moved(attempts, queued) if mode is Mode.ASYNC else []
    if mode is Mode.SYNC:
        result = NONE if gave_up else left
    else:
        result = next((attempt.end for attempt in delivered if attempt.delivered), NONE)
    return Lap(
        number=index + 1,
        mode=mode,
        left=left,
        queued=queued,
        started=started,
        ended=ended,
        result=result,
        attempts=delivered,
        gave_up=gave_up,
    )


def finished_lane(plan: Plan, samples: Samples, found: Deliveries) -> Lane:
    """One lane as its clients saw it."""
    laps = [finished_lap(plan, samples, index, found.get(index, ())) for index in range(len(samples))]
    return Lane(mode=samples.mode, laps=laps, now=last_ms(laps))


def finished_lap(plan: Plan, samples: Samples, index: int, attempts: Sequence[Attempt]) -> Lap:
    """One request from its samples: seconds from the start of the block."""
    sent, accepted, result, queued, started, ended = (
        1000 * getattr(samples, name)[index] for name in ("sent", "accepted", "result", "queued", "started", "ended")
    )
    gave_up = samples.outcomes[index] == Outcome.CLIENT_TIMEOUT
    left = 1000 * (samples.intended[index] + plan.timeout_of(samples.mode)) if gave_up else accepted
    return Lap(
        number=index + 1,
        mode=samples.mode,
        left=left,
        queued=sent if math.isnan(queued) else min(sent, queued),
        started=started,
        ended=ended,
        result=result if samples.resolved(index) else NONE,
        attempts=moved(attempts, queued) if samples.mode is Mode.ASYNC and not math.isnan(queued) else (),
        gave_up=gave_up,
    )
