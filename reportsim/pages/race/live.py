"""A race while it runs and afterwards: from the recorder, from the samples, or on another replica from the rows."""

import math
import time
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Final
from uuid import UUID

from aiohttp import web

from reportsim.benchmark.active_run import ActiveRun
from reportsim.benchmark.plan import Plan
from reportsim.benchmark.pulled_plug import PulledPlug, find_pulled_plug
from reportsim.benchmark.results.samples import Outcome, Samples
from reportsim.benchmark.results.verdict import describe_distrust, was_busy
from reportsim.benchmark.schedule import make_schedule
from reportsim.benchmark.server_recorder import Recorder, Side
from reportsim.core.model import Mode
from reportsim.pages.race.model import NONE, Attempt, Race, RaceRequest, RaceSide, last_ms
from reportsim.pages.race.prediction import ACCEPT_MS
from reportsim.pages.timeline import milliseconds
from reportsim.store import benchmarks as store
from reportsim.store.benchmarks import Attempted, Benchmark
from reportsim.web.keys import ENGINE, RUNNER

MOST_ATTEMPTS: Final = 1_000
# The callback attempts of each async request, by its index, in milliseconds from its acceptance.
Deliveries = Mapping[int, Sequence[Attempt]]


async def load_race(request: web.Request, run: Benchmark, prediction: Race) -> Race:
    """A race as it is now; its axis is at least as long as that of the prediction."""
    pool, current = request.app[ENGINE].pool, request.app[RUNNER].current
    rows = await store.attempts(pool, run.id, MOST_ATTEMPTS)
    plan = Plan.from_json(run.plan)
    indices = {seed: index for index, seed in enumerate(make_schedule(plan).seeds)}
    attempts = attempts_by_index(rows, indices)
    samples = await store.samples(pool, run.id) if run.result else None
    if samples is not None:
        by_mode = {side.side: side for side in map(Samples.unpack, samples)}
        sides = [side_from_samples(plan, by_mode[mode], attempts) for mode in Mode]
    elif current is not None and current.id == run.id:
        sides = sides_from_recorder(current.recorder, attempts)
    else:
        sides = sides_from_rows(plan, rows, indices, attempts, request.app[ENGINE].clock.now())
    return Race(
        sides=sides,
        predicted=False,
        id=str(run.id),
        status=run.status,
        at_least_ms=0.0 if samples is not None else prediction.now,
        hashes=hashes(rows),
        error=run.error["detail"] if run.error else None,
        failed_checks=describe_distrust(run.result) if run.result else None,
        busy=was_busy(run.result) if run.result else False,
        plug=find_plug(run, current),
    )


def find_plug(run: Benchmark, current: ActiveRun | None) -> PulledPlug | None:
    """When the plug was pulled in a race that has ended, or that is running here."""
    if run.result:
        return find_pulled_plug(run.result)
    if current is None or current.id != run.id or current.plug is None:
        return None
    start = start_of(current.recorder)
    return None if math.isnan(start) else current.plug.since(start)


def hashes(rows: Sequence[Attempted]) -> dict[str, list[str]]:
    """The sha256 of every file of each side; a request has a row per callback attempt."""
    found: dict[str, dict[UUID, str]] = {}
    for row in rows:
        if row.sha256:
            found.setdefault(row.mode, {})[row.id] = row.sha256
    return {mode: list(files.values()) for mode, files in found.items()}


def attempts_by_index(rows: Sequence[Attempted], indices: Mapping[int, int]) -> dict[int, list[Attempt]]:
    """The callback attempts by the index of their request, which is found by its seed."""
    found: dict[int, list[Attempt]] = {}
    for row in rows:
        if row.attempted_at is None or row.response_time_ms is None or row.seed not in indices:
            continue
        start = milliseconds(row.created_at, row.attempted_at)
        attempt = Attempt(start=start, end=start + row.response_time_ms, delivered=bool(row.success))
        found.setdefault(indices[row.seed], []).append(attempt)
    return found


def shift(attempts: Sequence[Attempt], by: float) -> list[Attempt]:
    """The attempts that many milliseconds later."""
    return [Attempt(start=item.start + by, end=item.end + by, delivered=item.delivered) for item in attempts]


def start_of(recorder: Recorder) -> float:
    """When the first request was queued."""
    queued = [time for side in recorder.sides.values() for time in side.queued if not math.isnan(time)]
    return min(queued, default=NONE)


def sides_from_recorder(recorder: Recorder, attempts: Deliveries) -> list[RaceSide]:
    """Both sides as the server sees them now."""
    start = start_of(recorder)
    now = 0.0 if math.isnan(start) else 1000 * (time.monotonic() - start)
    return [
        RaceSide(
            mode=Mode(name),
            requests=[
                request_from_recorder(Mode(name), side, index, start, attempts.get(index, ()))
                for index in range(recorder.count)
            ],
            now=now,
        )
        for name, side in recorder.sides.items()
    ]


def request_from_recorder(mode: Mode, side: Side, index: int, start: float, attempts: Sequence[Attempt]) -> RaceRequest:
    """One request as the server sees it now."""
    queued, started, ended = (1000 * (column[index] - start) for column in (side.queued, side.started, side.ended))
    disconnected = queued + 1000 * side.held[index]
    gave_up = mode is Mode.SYNC and not math.isnan(disconnected) and not disconnected >= ended
    delivered = shift(attempts, queued) if mode is Mode.ASYNC else []
    if mode is Mode.SYNC:
        result = NONE if gave_up else disconnected
    else:
        result = next((attempt.end for attempt in delivered if attempt.delivered), NONE)
    return RaceRequest(
        number=index + 1,
        mode=mode,
        disconnected=disconnected,
        queued=queued,
        started=started,
        ended=ended,
        result=result,
        attempts=delivered,
        gave_up=gave_up,
    )


def sides_from_rows(
    plan: Plan, rows: Sequence[Attempted], indices: Mapping[int, int], attempts: Deliveries, now: datetime
) -> list[RaceSide]:
    """Both sides as the database has them, for a replica that does not run the race.

    The rows do not say when sync clients disconnect: they do so with the result or at their time-out.
    """
    start = min((row.created_at for row in rows), default=now)
    until = milliseconds(start, now)
    found: dict[str, dict[int, RaceRequest]] = {mode: {} for mode in Mode}
    for row in rows:
        if row.seed in indices:
            index = indices[row.seed]
            found[row.mode][index] = request_from_row(plan, row, index, start, attempts.get(index, ()), until)
    requests = [[by_index[index] for index in sorted(by_index)] for by_index in found.values()]
    if rows and all(request.result >= 0 or request.gave_up for side in requests for request in side):
        until = max(map(last_ms, requests))
    return [RaceSide(mode=mode, requests=side, now=until) for mode, side in zip(Mode, requests, strict=True)]


def request_from_row(
    plan: Plan, row: Attempted, index: int, start: datetime, attempts: Sequence[Attempt], now: float
) -> RaceRequest:
    """One request as its row in the database has it."""
    queued, started, ended = (
        NONE if time is None else milliseconds(start, time)
        for time in (row.created_at, row.started_at, row.completed_at)
    )
    mode = Mode(row.mode)
    timeout = queued + 1000 * plan.timeout_of(mode)
    gave_up = timeout < (now if math.isnan(ended) else ended)
    delivered = shift(attempts, queued) if mode is Mode.ASYNC else []
    if mode is Mode.ASYNC:
        disconnected = queued + ACCEPT_MS
        result = next((attempt.end for attempt in delivered if attempt.delivered), NONE)
    else:
        disconnected, result = (timeout, NONE) if gave_up else (ended, ended)
    return RaceRequest(
        number=index + 1,
        mode=mode,
        disconnected=disconnected,
        queued=queued,
        started=started,
        ended=ended,
        result=result,
        attempts=delivered,
        gave_up=gave_up,
    )


def side_from_samples(plan: Plan, samples: Samples, attempts: Deliveries) -> RaceSide:
    """One side as its clients measured it."""
    requests = [request_from_samples(plan, samples, index, attempts.get(index, ())) for index in range(len(samples))]
    return RaceSide(mode=Mode(samples.side), requests=requests, now=last_ms(requests))


def request_from_samples(plan: Plan, samples: Samples, index: int, attempts: Sequence[Attempt]) -> RaceRequest:
    """One request as its client measured it; samples are in seconds from the start of the block."""
    sent, accepted, result, queued, started, ended = (
        1000 * samples.column(name)[index] for name in ("sent", "accepted", "result", "queued", "started", "ended")
    )
    mode = Mode(samples.side)
    gave_up = samples.outcomes[index] == Outcome.CLIENT_TIMEOUT
    timeout = 1000 * (samples.due[index] + plan.timeout_of(mode))
    return RaceRequest(
        number=index + 1,
        mode=mode,
        disconnected=timeout if gave_up else accepted,
        queued=sent if math.isnan(queued) else min(sent, queued),
        started=started,
        ended=ended,
        result=result if samples.resolved(index) else NONE,
        attempts=shift(attempts, queued) if mode is Mode.ASYNC and not math.isnan(queued) else (),
        gave_up=gave_up,
    )
