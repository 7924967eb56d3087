"""Benchmark runs: what was asked for, what was found, and the samples behind it.

A run has one lease for itself and all of its requests; when that runs out, its replica is dead, and the run has failed.
"""

import json
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final
from uuid import UUID

import asyncpg

from reportsim.core.model import rfc3339
from reportsim.store.pool import Pool

KEPT: Final = 200
"""Runs that are kept; older ones go when a new one begins."""
COLUMNS: Final = "id, status, plan, prediction, result, error, created_at, started_at, completed_at"

INSERT: Final = """
WITH surplus AS (
    DELETE FROM benchmarks WHERE id IN (
        SELECT id FROM benchmarks WHERE status NOT IN ('PENDING', 'RUNNING') ORDER BY id DESC OFFSET $6))
INSERT INTO benchmarks (id, status, plan, owner, lease_until, created_at)
VALUES ($1, 'PENDING', $2::json, $3, now() + $4::interval, $5)
"""
START: Final = """
UPDATE benchmarks SET status = 'RUNNING', prediction = $2::json, started_at = $3
WHERE id = $1 AND status = 'PENDING' RETURNING id
"""
END: Final = """
UPDATE benchmarks SET status = $2, result = $3::json, error = $4::json, samples_sync = $5, samples_async = $6,
    completed_at = $7
WHERE id = $1 AND status IN ('PENDING', 'RUNNING') RETURNING id
"""
RENEW: Final = """
UPDATE benchmarks SET lease_until = now() + $2::interval
WHERE id = $1 AND status IN ('PENDING', 'RUNNING') RETURNING id
"""
BURY: Final = """
UPDATE benchmarks SET status = 'FAILED', error = $1::json, completed_at = $2
WHERE status IN ('PENDING', 'RUNNING') AND lease_until < now() AND id IS DISTINCT FROM $3 RETURNING id
"""
# Two looks, each of which has an index: by its run, and by where its callbacks go.
OPEN_REQUESTS: Final = """
SELECT EXISTS (SELECT FROM requests WHERE run_id = $1 AND status IN ('PENDING', 'PROCESSING'))
    OR EXISTS (
        SELECT FROM requests
        WHERE callback_origin = $2 AND callback_status = 'PENDING' AND callback_due_at IS NOT NULL AND run_id = $1)
"""
ORPHANED: Final = """
SELECT DISTINCT r.run_id FROM requests r
WHERE r.run_id IS NOT NULL AND r.status IN ('PENDING', 'PROCESSING')
    AND NOT EXISTS (SELECT FROM benchmarks b WHERE b.id = r.run_id AND b.status IN ('PENDING', 'RUNNING'))
"""
END_REQUESTS: Final = """
WITH left_over AS MATERIALIZED (
    SELECT id FROM requests
    WHERE run_id = $1 AND (status IN ('PENDING', 'PROCESSING') OR callback_status = 'PENDING')
    ORDER BY id LIMIT $4 FOR UPDATE)
UPDATE requests r SET status = CASE WHEN r.completed_at IS NULL THEN 'FAILED' ELSE r.status END,
    error = CASE WHEN r.completed_at IS NULL THEN $2::json ELSE r.error END,
    completed_at = coalesce(r.completed_at, $3), owner = NULL, lease_until = NULL, tries = r.tries + 1,
    callback_status = CASE WHEN r.callback_status = 'PENDING' THEN 'FAILED' ELSE r.callback_status END,
    callback_due_at = NULL, callback_owner = NULL, callback_fence = r.callback_fence + 1,
    changed_at = clock_timestamp()
FROM left_over WHERE r.id = left_over.id
RETURNING r.id
"""
SELECT_ONE: Final = f"SELECT {COLUMNS} FROM benchmarks WHERE id = $1"
SELECT_STATUS: Final = "SELECT status FROM benchmarks WHERE id = $1"
SELECT_NEWEST: Final = """
SELECT id, status, plan, result -> 'verdict' AS verdict, result -> 'trusted' AS trusted, created_at, completed_at,
    (result #>> '{sync,shares,client_timeout,value}')::float8 AS sync_timeout_share,
    CASE WHEN result IS NOT NULL AND plan -> 'blocks' IS NULL THEN json_build_object(
        'sync', json_build_object('outcomes', s -> 'outcomes', 'open_connections', s -> 'open_connections'),
        'async', json_build_object('outcomes', a -> 'outcomes', 'open_connections', a -> 'open_connections'),
        'comparison', result -> 'comparison') END AS old_figures
FROM benchmarks, LATERAL (SELECT result -> 'sync' AS s, result -> 'async' AS a) AS sides ORDER BY id DESC LIMIT $1
"""
SELECT_LATEST_RACE_ACCEPT: Final = """
SELECT (result #>> '{async,accept_ms,mean,value}')::float8 AS accept_ms FROM benchmarks
WHERE (plan ->> 'together')::boolean AND result IS NOT NULL ORDER BY id DESC LIMIT 1
"""
SELECT_SAMPLES: Final = "SELECT samples_sync, samples_async FROM benchmarks WHERE id = $1"
# What repeating a statement mends: it met another one in the wrong order.
CONFLICTS: Final = (asyncpg.DeadlockDetectedError, asyncpg.SerializationError)


class AlreadyRunning(Exception):
    """There is a run that has not ended."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Benchmark:
    """One run; `progress` is known to the replica that runs it."""

    id: UUID
    status: str
    plan: dict[str, Any]
    prediction: dict[str, Any] | None
    result: dict[str, Any] | None
    error: dict[str, Any] | None
    created_at: datetime
    started_at: datetime | None
    completed_at: datetime | None

    @property
    def ended(self) -> bool:
        """Whether the status is terminal."""
        return has_ended(self.status)

    def as_json(self, progress: float = 0.0) -> dict[str, Any]:
        """The run as the API shows it."""
        path = f"/api/benchmark/{self.id}"
        exports = self.result is not None
        return {
            "id": str(self.id),
            "status": self.status,
            "plan": self.plan,
            "prediction": self.prediction,
            "progress": 1.0 if self.ended else round(progress, 4),
            "result": self.result,
            "error": self.error,
            "created_at": rfc3339(self.created_at),
            "started_at": rfc3339(self.started_at),
            "completed_at": rfc3339(self.completed_at),
            "links": {
                "self": path,
                "report": f"{path}/report.html" if exports else None,
                "replay": f"{path}/replay.html" if exports else None,
                "samples": f"{path}/samples.csv" if exports else None,
            },
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Summary:
    """One run in a list."""

    id: UUID
    status: str
    plan: dict[str, Any]
    verdict: str | None
    trusted: bool | None
    created_at: datetime
    completed_at: datetime | None
    sync_timeout_share: float | None
    """The sync clients that gave up; None without a result, for A/A runs, and for runs of earlier versions."""
    old_figures: dict[str, Any] | None = None
    """Of a run of an earlier version the part of its result from which its verdict is written."""

    def as_json(self, progress: float = 0.0) -> dict[str, Any]:
        """The run as the list shows it."""
        return {
            "id": str(self.id),
            "status": self.status,
            "plan": self.plan,
            "progress": 1.0 if has_ended(self.status) else round(progress, 4),
            "verdict": self.verdict,
            "trusted": self.trusted,
            "created_at": rfc3339(self.created_at),
            "completed_at": rfc3339(self.completed_at),
            "links": {"self": f"/api/benchmark/{self.id}"},
        }


def has_ended(status: str) -> bool:
    """Whether a status is terminal."""
    return status not in {"PENDING", "RUNNING"}


def decode_columns(row: asyncpg.Record, *names: str) -> dict[str, Any]:
    """The values of a row, with its JSON read."""
    values = dict(row.items())
    return values | {name: None if values[name] is None else json.loads(values[name]) for name in names}


async def insert(pool: Pool, id: UUID, plan: Any, *, owner: UUID, lease: timedelta, at: datetime) -> None:
    """Adds a run, and deletes the oldest beyond those that are kept.

    Raises:
        AlreadyRunning: another has not ended.
    """
    try:
        await pool.execute(INSERT, id, json.dumps(plan), owner, lease, at, KEPT - 1)
    except asyncpg.UniqueViolationError:
        raise AlreadyRunning from None


async def start(pool: Pool, id: UUID, prediction: str, at: datetime) -> bool:
    """Marks a run as running and keeps what is expected of it, unless it has ended meanwhile."""
    return await pool.fetchval(START, id, prediction, at) is not None


async def complete(pool: Pool, id: UUID, result: str, samples: tuple[bytes, bytes], at: datetime) -> bool:
    """Ends a run with its result, unless it has ended."""
    return await pool.fetchval(END, id, "COMPLETED", result, None, *samples, at) is not None


async def fail(pool: Pool, id: UUID, error: Any, at: datetime) -> bool:
    """Ends a run without a result, unless it has ended."""
    return await pool.fetchval(END, id, "FAILED", None, json.dumps(error), None, None, at) is not None


async def cancel(pool: Pool, id: UUID, at: datetime) -> bool:
    """Ends a run because somebody wished so, unless it has ended."""
    return await pool.fetchval(END, id, "CANCELLED", None, None, None, None, at) is not None


async def renew(pool: Pool, id: UUID, lease: timedelta) -> bool:
    """Renews the lease of a run; False when it has ended."""
    return await pool.fetchval(RENEW, id, lease) is not None


async def bury(pool: Pool, error: Any, at: datetime, alive: UUID | None = None) -> list[UUID]:
    """Fails the runs whose replica died; `alive` is the caller's own, whatever has become of its lease."""
    return [row["id"] for row in await pool.fetch(BURY, json.dumps(error), at, alive)]


async def has_open_requests(pool: Pool, run: UUID, origin: str | None = None) -> bool:
    """Whether any request of a run waits or is being worked on, or has a callback to `origin` that has not ended."""
    return bool(await pool.fetchval(OPEN_REQUESTS, run, origin))


async def find_orphaned(pool: Pool) -> list[UUID]:
    """Runs that have ended, or are not there, and have left requests behind that have not."""
    return [row["run_id"] for row in await pool.fetch(ORPHANED)]


async def end_requests(pool: Pool, run: UUID, error: Any, at: datetime, limit: int) -> int:
    """Fails what is left of the requests of a run that has ended, so many at most; nobody hears their callbacks."""
    return len(await pool.fetch(END_REQUESTS, run, json.dumps(error), at, limit))


async def get(pool: Pool, id: UUID) -> Benchmark | None:
    """One run."""
    row = await pool.fetchrow(SELECT_ONE, id)
    return None if row is None else Benchmark(**decode_columns(row, "plan", "prediction", "result", "error"))


async def status_of(pool: Pool, id: UUID) -> str | None:
    """The status of a run; None where it is not there."""
    status: str | None = await pool.fetchval(SELECT_STATUS, id)
    return status


async def has_ended_by_now(pool: Pool, id: UUID) -> bool:
    """Whether a run has ended, or is not there."""
    return await status_of(pool, id) not in {"PENDING", "RUNNING"}


async def newest(pool: Pool, limit: int) -> list[Summary]:
    """The newest runs, newest first."""
    rows = await pool.fetch(SELECT_NEWEST, limit)
    return [Summary(**decode_columns(row, "plan", "verdict", "trusted", "old_figures")) for row in rows]


async def latest_race_accept_ms(pool: Pool) -> float | None:
    """The mean time until an async client was free, in the newest race that was measured."""
    rows = await pool.fetch(SELECT_LATEST_RACE_ACCEPT)
    return rows[0]["accept_ms"] if rows else None


async def samples(pool: Pool, id: UUID) -> tuple[bytes, bytes] | None:
    """The packed samples of both sides of a completed run."""
    row = await pool.fetchrow(SELECT_SAMPLES, id)
    return None if row is None or row[0] is None else (row[0], row[1])


SELECT_ATTEMPTS: Final = """
SELECT r.id, r.mode, (r.input_payload -> 'simulate' ->> 'seed')::bigint AS seed, r.created_at, r.started_at,
    r.completed_at, r.result_payload ->> 'sha256' AS sha256, l.attempted_at, l.response_time_ms, l.success
FROM requests r LEFT JOIN callback_logs l ON l.request_id = r.id AND l.series = 1
WHERE r.run_id = $1 AND r.input_payload -> 'simulate' IS NOT NULL
ORDER BY r.id, l.attempt_number LIMIT $2
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempted:
    """A request of a run with one of its callback attempts, or with none."""

    id: UUID
    mode: str
    seed: int
    created_at: datetime
    started_at: datetime | None
    completed_at: datetime | None
    sha256: str | None
    attempted_at: datetime | None
    response_time_ms: float | None
    success: bool | None


async def attempts(pool: Pool, id: UUID, limit: int) -> list[Attempted]:
    """The requests of a run with their callback attempts, in order; those of its warm-up are left out."""
    return [Attempted(**row) for row in await pool.fetch(SELECT_ATTEMPTS, id, limit)]
