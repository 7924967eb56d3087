"""Callback deliveries: claims, attempts and their log.

`callback_fence` is raised by every claim, and a record that does not know the newest fence changes nothing.
`callback_due_at` is the end of a wait, or of the lease of whoever is delivering: either way, when the next may try.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from types import MappingProxyType
from typing import Final
from uuid import UUID

from reportsim.core.identifiers import uuid7
from reportsim.core.model import CallbackLog, CallbackStatus, Request
from reportsim.store.pool import LIGHTLY, Connection, Fetches, Pool
from reportsim.store.requests import OF_R, from_row

LATEST_MS: Final = (1 << 48) - 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """The right to make one attempt: a fence that was read, to be raised."""

    id: UUID
    series: int
    attempts: int
    fence: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    """An attempt that ended: its log row, and what the series comes to."""

    log: CallbackLog
    fence: int
    status: CallbackStatus
    wait: timedelta | None
    base: str | None = None


CLAIM: Final = f"""
UPDATE requests r SET callback_fence = r.callback_fence + 1, callback_owner = $1,
    callback_due_at = now() + $2::interval
FROM {LIGHTLY} CROSS JOIN unnest($3::uuid[], $4::integer[], $5::integer[], $6::integer[])
    AS c (id, series, attempts, fence)
WHERE r.id = c.id AND r.callback_series = c.series AND r.callback_attempts = c.attempts AND r.callback_fence = c.fence
    AND r.callback_status = 'PENDING'
RETURNING {OF_R}
"""


async def claim(pool: Fetches, owner: UUID, lease: timedelta, claims: Sequence[Claim]) -> list[Request | None]:
    """Takes many next attempts; None for each that somebody else took. The clock has no say."""
    rows = await pool.fetch(
        CLAIM,
        owner,
        lease,
        [item.id for item in claims],
        [item.series for item in claims],
        [item.attempts for item in claims],
        [item.fence for item in claims],
    )
    taken = {row["id"]: from_row(row) for row in rows}
    return [taken.get(item.id) for item in claims]


# The destinations that have anything are read off the index one by one, then what is longest due of each. The receiver
# of a benchmark is known to the replica alone that runs it: others would refuse its address for good. What is due for
# very long belongs to a run that is over, and is to be refused.
CLAIM_DUE: Final = f"""
WITH RECURSIVE destinations AS (
    (SELECT callback_origin AS origin FROM requests
    WHERE callback_status = 'PENDING' AND callback_due_at IS NOT NULL
    ORDER BY callback_origin LIMIT 1)
    UNION ALL
    SELECT (
        SELECT callback_origin FROM requests
        WHERE callback_status = 'PENDING' AND callback_due_at IS NOT NULL AND callback_origin > destinations.origin
        ORDER BY callback_origin LIMIT 1)
    FROM destinations WHERE destinations.origin IS NOT NULL),
first AS (
    SELECT due.id FROM destinations LEFT JOIN unnest($5::text[], $6::integer[]) AS known (origin, room) USING (origin)
    CROSS JOIN LATERAL (
        SELECT id, callback_due_at, row_number() OVER (ORDER BY callback_due_at) AS place FROM requests
        WHERE callback_status = 'PENDING' AND callback_origin = destinations.origin
            AND callback_due_at < now() - $4::interval AND id <> ALL($8::uuid[])
            AND (run_id IS NULL OR callback_origin = ANY($9::text[])
                OR callback_due_at < now() - interval '15 minutes')
        ORDER BY callback_due_at LIMIT least(coalesce(known.room, $7), $3)) AS due
    ORDER BY due.place, due.callback_due_at LIMIT $3),
due AS MATERIALIZED (
    SELECT r.id FROM requests r JOIN first USING (id)
    WHERE r.callback_status = 'PENDING' AND r.callback_due_at < now() - $4::interval
    FOR UPDATE OF r SKIP LOCKED)
UPDATE requests r SET callback_fence = r.callback_fence + 1, callback_owner = $1,
    callback_due_at = now() + $2::interval
FROM {LIGHTLY} CROSS JOIN due WHERE r.id = due.id
RETURNING {OF_R}
"""


async def claim_due(
    pool: Fetches,
    owner: UUID,
    lease: timedelta,
    limit: int,
    late: timedelta,
    rooms: Mapping[str, int] = MappingProxyType({}),
    elsewhere: int | None = None,
    held: Sequence[UUID] = (),
    receivers: Sequence[str] = (),
) -> list[Request]:
    """Takes attempts that have been due for `late` and that nobody holds: of every destination the first, and so on.

    No more for any destination than there is in `rooms`, or `elsewhere` where it is not named. What is `held` here is
    left alone even when its lease has run out: a higher fence would refuse the record of the attempt being made.
    Callbacks of a benchmark are taken only where they go to one of this replica's own `receivers`.
    """
    found = await pool.fetch(
        CLAIM_DUE,
        owner,
        lease,
        limit,
        late,
        list(rooms),
        list(rooms.values()),
        limit if elsewhere is None else elsewhere,
        list(held),
        list(receivers),
    )
    return [from_row(row) for row in found]


GIVE_BACK: Final = f"""
UPDATE requests r SET callback_owner = NULL, callback_due_at = now() + $3::interval FROM {LIGHTLY}
WHERE r.id = ANY($2::uuid[]) AND r.callback_owner = $1 AND r.callback_status = 'PENDING'
"""


async def give_back(pool: Fetches, owner: UUID, ids: Sequence[UUID], wait: timedelta = timedelta(seconds=-1)) -> None:
    """Lets anyone take attempts that were claimed, from now on or after a wait; it does not count as one."""
    await pool.fetch(GIVE_BACK, owner, list(ids), wait)


LAST_ATTEMPTS: Final = """
SELECT DISTINCT ON (r.callback_origin) r.callback_origin AS origin, l.reason, l.response_time_ms
FROM (SELECT id, request_id, reason, response_time_ms FROM callback_logs ORDER BY id DESC LIMIT $1) AS l
JOIN requests r ON r.id = l.request_id
WHERE r.run_id IS NULL AND r.callback_origin IS NOT NULL
ORDER BY r.callback_origin, l.id DESC
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class LastAttempt:
    """What the last attempt at a destination came to."""

    origin: str
    reason: str | None
    response_time_ms: float


async def last_attempts(pool: Fetches, among: int) -> list[LastAttempt]:
    """The last attempt at each destination, among so many attempts that were logged last."""
    return [LastAttempt(**row) for row in await pool.fetch(LAST_ATTEMPTS, among)]


RECORD: Final = """
WITH attempt AS (
    SELECT * FROM unnest($1::uuid[], $2::uuid[], $3::integer[], $4::integer[], $5::integer[], $6::boolean[],
        $7::text[], $8::text[], $9::double precision[], $10::timestamptz[], $11::text[], $12::text[],
        $13::timestamptz[], $14::integer[], $15::text[], $16::interval[], $18::text[])
        AS a (id, request_id, series, attempt_number, status_code, success, reason, error_message,
            response_time_ms, attempted_at, remote_ip, response_excerpt, next_attempt_at, fence, state, wait, base)),
moved AS (
    UPDATE requests r SET callback_attempts = a.attempt_number, callback_status = a.state, callback_owner = NULL,
        callback_due_at = now() + a.wait, callback_base = coalesce(r.callback_base, a.base),
        changed_at = clock_timestamp()
    FROM attempt a
    WHERE r.id = a.request_id AND r.callback_series = a.series AND r.callback_fence = a.fence
        AND r.callback_owner = $17 AND r.callback_attempts = a.attempt_number - 1 AND r.callback_status = 'PENDING'
    RETURNING r.id, r.callback_fence),
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
    """Logs many attempts and moves their requests on, in one statement; False where the fence refuses.

    An attempt that was logged before is True again: this statement repeats one whose answer was lost.
    A crash of the database may undo a claim, and somebody else's then raises the same fence: so the owner counts, too.
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
    """The last attempts of one request, oldest first."""
    return [CallbackLog(**row) for row in reversed(await pool.fetch(SELECT_NEWEST_LOGS, request_id, limit))]


# A request that has had so many series has told its receiver enough.
MOST_SERIES: Final = 20
ANEW: Final = """callback_series = r.callback_series + 1, callback_attempts = 0, callback_status = 'PENDING',
    callback_fence = r.callback_fence + 1, callback_owner = $1, callback_due_at = now() + $2::interval,
    changed_at = clock_timestamp()"""
REDELIVER: Final = f"""
UPDATE requests r SET {ANEW}
WHERE r.id = ANY($3::uuid[]) AND r.callback_url IS NOT NULL AND r.callback_status <> 'PENDING'
    AND r.callback_series < {MOST_SERIES}
RETURNING {OF_R}
"""


async def redeliver(pool: Pool, owner: UUID, lease: timedelta, ids: Sequence[UUID]) -> list[Request]:
    """Starts a new series for each that has none running and may have more, claims its first attempt, returns those."""
    return [from_row(row) for row in await pool.fetch(REDELIVER, owner, lease, list(ids))]


# What somebody else starts a series for at this moment is left to them. The state is part of the text, so that even
# a plan for all parameters reads its index.
MATCHING: Final = f"""
WITH picked AS MATERIALIZED (
    SELECT id FROM requests
    WHERE callback_status = '%s' AND run_id IS NULL AND id >= $3 AND callback_series < {MOST_SERIES}
        AND ($4::timestamptz IS NULL OR created_at >= $4) AND ($5::timestamptz IS NULL OR created_at < $5)
        AND ($6::text IS NULL OR mode = $6) AND ($7::text IS NULL OR status = $7)
        AND ($8::text IS NULL OR callback_origin = $8)
    ORDER BY id LIMIT $9 FOR UPDATE SKIP LOCKED)
UPDATE requests r SET {ANEW}
FROM picked WHERE r.id = picked.id
RETURNING {OF_R}
"""
REDELIVER_FAILED: Final = MATCHING % CallbackStatus.FAILED
REDELIVER_SUCCESS: Final = MATCHING % CallbackStatus.SUCCESS


@dataclass(frozen=True, slots=True, kw_only=True)
class Matching:
    """Which ended series are to be started anew; None takes all."""

    callback_status: CallbackStatus = CallbackStatus.FAILED
    since: datetime | None = None
    until: datetime | None = None
    mode: str | None = None
    status: str | None = None
    origin: str | None = None


async def redeliver_matching(
    pool: Pool, owner: UUID, lease: timedelta, matching: Matching, limit: int
) -> list[Request]:
    """Starts a new series for the oldest that match and have none running, and claims their first attempts."""
    failed = matching.callback_status is CallbackStatus.FAILED
    rows = await pool.fetch(
        REDELIVER_FAILED if failed else REDELIVER_SUCCESS,
        owner,
        lease,
        first_id_at(matching.since),
        matching.since,
        matching.until,
        matching.mode,
        matching.status,
        matching.origin,
        limit,
    )
    return sorted((from_row(row) for row in rows), key=lambda request: request.id)


def first_id_at(moment: datetime | None) -> UUID:
    """An id that none is smaller than that was made from a moment on; a second's grace for the clocks of replicas."""
    milliseconds = int(moment.timestamp() * 1000) - 1000 if moment else 0
    return uuid7(min(max(milliseconds, 0), LATEST_MS) << 12, bytes(8))


SECRET: Final = """
WITH made AS (INSERT INTO webhook_secrets (secret) VALUES ($1) ON CONFLICT DO NOTHING RETURNING secret)
SELECT secret FROM made UNION ALL SELECT secret FROM webhook_secrets LIMIT 1
"""


async def keep_secret(pool: Pool | Connection, candidate: str) -> str:
    """The signing secret kept in the database; the candidate becomes it when there was none."""
    secret: str | None = None
    while secret is None:
        # Nothing is found when another starter's secret was committed while this statement ran.
        secret = await pool.fetchval(SECRET, candidate)
    return secret
