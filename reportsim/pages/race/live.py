"""A race as it goes or as it went: what the recorder sees meanwhile, what the samples hold afterwards."""

import math
import time
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Final
from uuid import UUID

from aiohttp import web

from reportsim.benchmark.plan import Plan
from reportsim.benchmark.results.samples import Outcome, Samples
from reportsim.benchmark.schedule import make_schedule
from reportsim.benchmark.server_recorder import Recorder, Side
from reportsim.core.model import Mode
from reportsim.pages.race.model import ACCEPT_MS, NONE, Attempt, Lane, Lap, Race, last_ms
from reportsim.pages.timeline import milliseconds
from reportsim.store import benchmarks as store
from reportsim.store.benchmarks import Attempted, Benchmark
from reportsim.web.keys import ENGINE, RUNNER

MOST_ATTEMPTS: Final = 1_000
# Attempts of each request of the async side, by its index, in milliseconds from when it was accepted.
Deliveries = Mapping[int, Sequence[Attempt]]


async def read_race(request: web.Request, run: Benchmark, expected: Race) -> Race:
    """A race at this moment; it is drawn at least as long as was expected."""
    pool, current = request.app[ENGINE].pool, request.app[RUNNER].current
    rows = await store.attempts(pool, run.id, MOST_ATTEMPTS)
    plan = Plan.from_json(run.plan)
    indices = {seed: index for index, seed in enumerate(make_schedule(plan).seeds)}
    found = deliveries(rows, indices)
    samples = await store.samples(pool, run.id) if run.result else None
    if samples is not None:
        sides = {side.side: side for side in map(Samples.unpack, samples)}
        lanes = [finished_lane(plan, sides[mode], found) for mode in Mode]
    elif current is not None and current.id == run.id:
        lanes = live_lanes(current.recorder, found)
    else:
        lanes = told_lanes(plan, rows, indices, found, request.app[ENGINE].clock.now())
    return Race(
        lanes=lanes,
        expected=False,
        id=str(run.id),
        status=run.status,
        at_least_ms=0.0 if samples is not None else expected.now,
        hashes=hashes(rows),
        trouble=run.error["detail"] if run.error else None,
    )


def hashes(rows: Sequence[Attempted]) -> dict[str, list[str]]:
    """The sha256 of every file of each side; a request has a row for each of its attempts."""
    found: dict[str, dict[UUID, str]] = {}
    for row in rows:
        if row.sha256:
            found.setdefault(row.mode, {})[row.id] = row.sha256
    return {mode: list(files.values()) for mode, files in found.items()}


def deliveries(rows: Sequence[Attempted], indices: Mapping[int, int]) -> dict[int, list[Attempt]]:
    """The callback attempts by the index of their request, which its seed tells."""
    found: dict[int, list[Attempt]] = {}
    for row in rows:
        if row.attempted_at is None or row.response_time_ms is None or row.seed not in indices:
            continue
        start = milliseconds(row.created_at, row.attempted_at)
        attempt = Attempt(start=start, end=start + row.response_time_ms, delivered=bool(row.success))
        found.setdefault(indices[row.seed], []).append(attempt)
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
            mode=Mode(name),
            laps=[live_lap(Mode(name), side, index, start, found.get(index, ())) for index in range(recorder.count)],
            now=now,
        )
        for name, side in recorder.sides.items()
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


def told_lanes(
    plan: Plan, rows: Sequence[Attempted], indices: Mapping[int, int], found: Deliveries, now: datetime
) -> list[Lane]:
    """Both lanes as far as the rows tell, for whoever is not the replica that runs the race.

    When clients of sync leave is not in the rows; they leave when they have their report, or when they give up.
    """
    start = min((row.created_at for row in rows), default=now)
    laps: dict[str, dict[int, Lap]] = {mode: {} for mode in Mode}
    for row in rows:
        if row.seed in indices:
            index = indices[row.seed]
            laps[row.mode][index] = told_lap(plan, row, index, start, found.get(index, ()), milliseconds(start, now))
    ended = all(lap.result >= 0 or lap.gave_up for lane in laps.values() for lap in lane.values())
    drawn = [[lane[index] for index in sorted(lane)] for lane in laps.values()]
    until = max(map(last_ms, drawn)) if rows and ended else milliseconds(start, now)
    return [Lane(mode=mode, laps=lane, now=until) for mode, lane in zip(Mode, drawn, strict=True)]


def told_lap(plan: Plan, row: Attempted, index: int, start: datetime, attempts: Sequence[Attempt], now: float) -> Lap:
    """One request as its row tells."""
    queued, started, ended = (
        NONE if moment is None else milliseconds(start, moment)
        for moment in (row.created_at, row.started_at, row.completed_at)
    )
    mode = Mode(row.mode)
    leaves = queued + 1000 * plan.timeout_of(mode)
    gave_up = leaves < (now if math.isnan(ended) else ended)
    delivered = moved(attempts, queued) if mode is Mode.ASYNC else []
    told = next((attempt.end for attempt in delivered if attempt.delivered), NONE)
    return Lap(
        number=index + 1,
        mode=mode,
        left=queued + ACCEPT_MS if mode is Mode.ASYNC else leaves if gave_up else ended,
        queued=queued,
        started=started,
        ended=ended,
        result=told if mode is Mode.ASYNC else NONE if gave_up else ended,
        attempts=delivered,
        gave_up=gave_up,
    )


def finished_lane(plan: Plan, samples: Samples, found: Deliveries) -> Lane:
    """One lane as its clients saw it."""
    laps = [finished_lap(plan, samples, index, found.get(index, ())) for index in range(len(samples))]
    return Lane(mode=Mode(samples.side), laps=laps, now=last_ms(laps))


def finished_lap(plan: Plan, samples: Samples, index: int, attempts: Sequence[Attempt]) -> Lap:
    """One request from its samples: seconds from the start of the block."""
    sent, accepted, result, queued, started, ended = (
        1000 * getattr(samples, name)[index] for name in ("sent", "accepted", "result", "queued", "started", "ended")
    )
    mode = Mode(samples.side)
    gave_up = samples.outcomes[index] == Outcome.CLIENT_TIMEOUT
    left = 1000 * (samples.due[index] + plan.timeout_of(mode)) if gave_up else accepted
    return Lap(
        number=index + 1,
        mode=mode,
        left=left,
        queued=sent if math.isnan(queued) else min(sent, queued),
        started=started,
        ended=ended,
        result=result if samples.resolved(index) else NONE,
        attempts=moved(attempts, queued) if mode is Mode.ASYNC and not math.isnan(queued) else (),
        gave_up=gave_up,
    )
