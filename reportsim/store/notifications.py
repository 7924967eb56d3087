"""What replicas tell each other: ids of changed requests, over NOTIFY, or found by looking."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final
from uuid import UUID

from reportsim.core.model import CallbackLog, CallbackStatus, Status, progress
from reportsim.store.pool import Connection, Pool

CHANNEL: Final = "reportsim"
# Below the 8,000 bytes of a payload.
MOST_IDS: Final = 200
# Rows that are made objects of without letting others have their turn.
AT_ONCE: Final = 500

NOTIFY: Final = "SELECT pg_notify($1, $2)"
# Other replicas have no part in the requests of a benchmark run.
SELECT_CHANGED: Final = """
SELECT id, status, callback_status, callback_series, callback_attempts, changed_at FROM requests
WHERE changed_at > $1 AND run_id IS NULL ORDER BY changed_at DESC LIMIT $2
"""
SELECT_NOW: Final = "SELECT clock_timestamp()"
SELECT_RECENT_LOGS: Final = """
SELECT id, request_id, series, attempt_number, status_code, success, reason, error_message, response_time_ms,
    attempted_at, remote_ip, response_excerpt, next_attempt_at
FROM callback_logs WHERE request_id = ANY($1::uuid[]) AND attempted_at > now() - $2::interval ORDER BY attempted_at
"""


def encode(boot: str, ids: Sequence[UUID]) -> str:
    """A payload: who speaks, and after a space the ids; too many are only said to be many."""
    return f"{boot} many" if len(ids) > MOST_IDS else " ".join((boot, *(id.hex for id in ids)))


def decode(ids: str) -> list[UUID] | None:
    """The ids of a payload; None stands for many, or for what cannot be read."""
    try:
        return [UUID(hex=id) for id in ids.split()]
    except ValueError:
        return None


async def notify(connection: Connection | Pool, channel: str, payload: str) -> None:
    """Sends one notification."""
    await connection.execute(NOTIFY, channel, payload)


@dataclass(frozen=True, slots=True)
class Change:
    """How far a request that changed has come."""

    id: UUID
    progress: tuple[int, ...]


async def changed_since(pool: Pool, moment: datetime, limit: int) -> tuple[list[Change], datetime]:
    """What changed last after a moment of the database's clock, and the moment of the newest of it."""
    found = []
    for number, row in enumerate(reversed(await pool.fetch(SELECT_CHANGED, moment, limit)), 1):
        if number % AT_ONCE == 0:
            await asyncio.sleep(0)
        moment = row["changed_at"]
        callback = row["callback_status"]
        reached = progress(
            Status(row["status"]),
            CallbackStatus(callback) if callback else None,
            row["callback_series"],
            row["callback_attempts"],
        )
        found.append(Change(row["id"], reached))
    return found, moment


async def database_now(pool: Pool) -> datetime:
    """The database's clock."""
    moment: datetime = await pool.fetchval(SELECT_NOW)
    return moment


async def recent_logs(pool: Pool, ids: Sequence[UUID], age: timedelta) -> list[CallbackLog]:
    """The callback attempts of some requests made within an age, oldest first."""
    return [CallbackLog(**row) for row in await pool.fetch(SELECT_RECENT_LOGS, list(ids), age)]
