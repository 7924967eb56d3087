"""Recording attempts, and reading their log."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Final, NamedTuple
from uuid import UUID

from reportsim.core.model import CallbackLog, CallbackStatus
from reportsim.store.pool import Fetches, Pool


class Attempt(NamedTuple):
    """An attempt that ended: its log row, and the state of its series."""

    log: CallbackLog
    fence: int
    status: CallbackStatus
    wait: timedelta | None
    base: str | None = None


RECORD: Final = """
WITH -- The attempts to record.
attempt AS (
    SELECT * FROM unnest($1::uuid[], $2::uuid[], $3::integer[], $4::integer[], $5::integer[], $6::boolean[],
        $7::text[], $8::text[], $9::double precision[], $10::timestamptz[], $11::text[], $12::text[],
        $13::timestamptz[], $14::integer[], $15::text[], $16::interval[], $18::text[])
        AS a (id, request_id, series, attempt_number, status_code, success, reason, error_message,
            response_time_ms, attempted_at, remote_ip, response_excerpt, next_attempt_at, fence, state, wait, base)),
-- Their requests, where the fence allows it.
moved AS (
    UPDATE requests r SET callback_attempts = a.attempt_number, callback_status = a.state, callback_owner = NULL,
        callback_due_at = now() + a.wait, callback_base = coalesce(r.callback_base, a.base),
        changed_at = clock_timestamp()
    FROM attempt a
    WHERE r.id = a.request_id AND r.callback_series = a.series AND r.callback_fence = a.fence
        AND r.callback_owner = $17 AND r.callback_attempts = a.attempt_number - 1 AND r.callback_status = 'PENDING'
    RETURNING r.id, r.callback_fence),
-- The log rows of those requests.
logged AS (
    INSERT INTO callback_logs (id, request_id, series, attempt_number, status_code, success, reason, error_message,
    response_time_ms, attempted_at, remote_ip, response_excerpt, next_attempt_at)
    SELECT a.id, a.request_id, a.series, a.attempt_number, a.status_code, a.success, a.reason, a.error_message,
        a.response_time_ms, a.attempted_at, a.remote_ip, a.response_excerpt, a.next_attempt_at
    FROM attempt a JOIN moved ON moved.id = a.request_id AND moved.callback_fence = a.fence
    ON CONFLICT DO NOTHING
    RETURNING id)
SELECT id FROM logged UNION ALL SELECT id FROM callback_logs WHERE id = ANY($1)
"""


async def record(pool: Fetches, owner: UUID, attempts: Sequence[Attempt]) -> list[bool]:
    """Logs many attempts and updates their requests, in one statement; False where the fence refuses.

    An attempt that was logged before is True again, when the statement is repeated because its response got lost.
    The owner is compared, too: a crash of the database may undo a claim, and another owner then gets the same fence.
    """
    logs = [item.log for item in attempts]
    rows = await pool.fetch(
        RECORD,
        [log.id for log in logs],
        [log.request_id for log in logs],
        [log.series for log in logs],
        [log.attempt_number for log in logs],
        [log.status_code for log in logs],
        [log.success for log in logs],
        [log.reason for log in logs],
        [log.error_message for log in logs],
        [log.response_time_ms for log in logs],
        [log.attempted_at for log in logs],
        [log.remote_ip for log in logs],
        [log.response_excerpt for log in logs],
        [log.next_attempt_at for log in logs],
        [item.fence for item in attempts],
        [item.status for item in attempts],
        [item.wait for item in attempts],
        owner,
        [item.base for item in attempts],
    )
    recorded = {row["id"] for row in rows}
    return [log.id in recorded for log in logs]


LAST_ATTEMPTS: Final = """
SELECT DISTINCT ON (r.callback_origin) r.callback_origin AS origin, l.reason, l.response_time_ms
FROM (SELECT id, request_id, reason, response_time_ms FROM callback_logs ORDER BY id DESC LIMIT $1) AS l
JOIN requests r ON r.id = l.request_id
WHERE r.run_id IS NULL AND r.callback_origin IS NOT NULL
ORDER BY r.callback_origin, l.id DESC
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class LastAttempt:
    """The result of the last attempt at a destination."""

    origin: str
    reason: str | None
    response_time_ms: float


async def last_attempts(pool: Fetches, among: int) -> list[LastAttempt]:
    """The last attempt at each destination, among a number of newest attempts."""
    return [LastAttempt(**row) for row in await pool.fetch(LAST_ATTEMPTS, among)]


LOG_COLUMNS: Final = """id, request_id, series, attempt_number, status_code, success, reason, error_message,
    response_time_ms, attempted_at, remote_ip, response_excerpt, next_attempt_at"""
SELECT_LOGS: Final = f"""
SELECT {LOG_COLUMNS} FROM callback_logs
WHERE request_id = $1 AND ($2::uuid IS NULL OR (series, attempt_number) > (
    SELECT series, attempt_number FROM callback_logs WHERE id = $2))
ORDER BY series, attempt_number LIMIT $3
"""


async def logs(pool: Pool, request_id: UUID, *, after: UUID | None = None, limit: int = 200) -> list[CallbackLog]:
    """Attempts of one request, oldest first: the first ones, or those after one of them."""
    return [CallbackLog(**row) for row in await pool.fetch(SELECT_LOGS, request_id, after, limit)]


SELECT_NEWEST_LOGS: Final = f"""
SELECT {LOG_COLUMNS} FROM callback_logs WHERE request_id = $1 ORDER BY series DESC, attempt_number DESC LIMIT $2
"""


async def newest_logs(pool: Pool, request_id: UUID, limit: int) -> list[CallbackLog]:
    """The newest attempts of one request, oldest first."""
    return [CallbackLog(**row) for row in reversed(await pool.fetch(SELECT_NEWEST_LOGS, request_id, limit))]
