"""Benchmark runs: what was asked for, what was found, and the samples behind it."""

import json
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final
from uuid import UUID

import asyncpg

from reportsim.core.model import rfc3339
from reportsim.store.pool import Pool

COLUMNS: Final = "id, status, plan, prediction, result, error, created_at, completed_at"

INSERT: Final = """
INSERT INTO benchmarks (id, status, plan, prediction, owner, lease_until, created_at)
VALUES ($1, 'PENDING', $2::json, $3::json, $4, now() + $5::interval, $6)
"""
START: Final = "UPDATE benchmarks SET status = 'RUNNING' WHERE id = $1 AND status = 'PENDING' RETURNING id"
END: Final = """
UPDATE benchmarks SET status = $2, result = $3::json, error = $4::json, samples_sync = $5, samples_async = $6,
    completed_at = $7
WHERE id = $1 AND status IN ('PENDING', 'RUNNING') RETURNING id
"""
RENEW: Final = """
UPDATE benchmarks SET lease_until = now() + $2::interval WHERE owner = $1 AND status IN ('PENDING', 'RUNNING')
"""
BURY: Final = """
UPDATE benchmarks SET status = 'FAILED', error = $1::json, completed_at = now()
WHERE status IN ('PENDING', 'RUNNING') AND lease_until < now() RETURNING id
"""
SELECT_ONE: Final = f"SELECT {COLUMNS} FROM benchmarks WHERE id = $1"
SELECT_NEWEST: Final = f"SELECT {COLUMNS} FROM benchmarks ORDER BY id DESC LIMIT $1"
SELECT_SAMPLES: Final = "SELECT samples_sync, samples_async FROM benchmarks WHERE id = $1"


class AlreadyRunning(Exception):
    """There is a run that has not ended."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Benchmark:
    """One run as the API shows it; `progress` is known to the replica that runs it."""

    id: UUID
    status: str
    plan: dict[str, Any]
    prediction: dict[str, Any] | None
    result: dict[str, Any] | None
    error: dict[str, Any] | None
    created_at: datetime
    completed_at: datetime | None

    @property
    def ended(self) -> bool:
        """Whether the status is terminal."""
        return self.status not in {"PENDING", "RUNNING"}

    def as_json(self, progress: float = 0.0) -> dict[str, Any]:
        """The run as every endpoint shows it."""
        return {
            "id": str(self.id),
            "status": self.status,
            "plan": self.plan,
            "prediction": self.prediction,
            "progress": 1.0 if self.ended else round(progress, 4),
            "result": self.result,
            "error": self.error,
            "created_at": rfc3339(self.created_at),
            "completed_at": rfc3339(self.completed_at),
        }


def from_row(row: asyncpg.Record) -> Benchmark:
    """A row of `COLUMNS` as a run."""
    values = dict(row.items())
    for name in ("plan", "prediction", "result", "error"):
        values[name] = None if values[name] is None else json.loads(values[name])
    return Benchmark(**values)


async def insert(
    pool: Pool, id: UUID, plan: Any, prediction: Any, *, owner: UUID, lease: timedelta, at: datetime
) -> None:
    """Adds a run.

    Raises:
        AlreadyRunning: another has not ended.
    """
    try:
        await pool.execute(INSERT, id, json.dumps(plan), json.dumps(prediction), owner, lease, at)
    except asyncpg.UniqueViolationError:
        raise AlreadyRunning from None


async def start(pool: Pool, id: UUID) -> bool:
    """Marks a run as running, unless it has ended meanwhile."""
    return await pool.fetchval(START, id) is not None


async def end(
    pool: Pool,
    id: UUID,
    status: str,
    *,
    at: datetime,
    result: Any = None,
    error: Any = None,
    samples: tuple[bytes, bytes] | None = None,
) -> bool:
    """Ends a run, unless it has ended."""
    texts = [None if value is None else json.dumps(value) for value in (result, error)]
    return await pool.fetchval(END, id, status, *texts, *(samples or (None, None)), at) is not None


async def renew(pool: Pool, owner: UUID, lease: timedelta) -> None:
    """Renews the lease of the run that an owner runs."""
    await pool.execute(RENEW, owner, lease)


async def bury(pool: Pool, error: Any) -> list[UUID]:
    """Fails the runs whose replica died."""
    return [row["id"] for row in await pool.fetch(BURY, json.dumps(error))]


async def get(pool: Pool, id: UUID) -> Benchmark | None:
    """One run."""
    row = await pool.fetchrow(SELECT_ONE, id)
    return None if row is None else from_row(row)


async def newest(pool: Pool, limit: int) -> list[Benchmark]:
    """The newest runs."""
    return [from_row(row) for row in await pool.fetch(SELECT_NEWEST, limit)]


async def samples(pool: Pool, id: UUID) -> tuple[bytes, bytes] | None:
    """The packed samples of both sides of a completed run."""
    row = await pool.fetchrow(SELECT_SAMPLES, id)
    return None if row is None or row[0] is None else (row[0], row[1])
