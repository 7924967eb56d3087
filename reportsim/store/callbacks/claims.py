"""Claiming the next attempt of a delivery: the one that was read, or those that are due.

Every claim raises `callback_fence`: an attempt with an older fence cannot be recorded. `callback_due_at` is the end of
a wait, or of the lease of the owner that is delivering.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from types import MappingProxyType
from typing import Final
from uuid import UUID

from reportsim.core.model import Request
from reportsim.store.pool import ASYNC_COMMIT, Fetches
from reportsim.store.requests.rows import COLUMNS_OF_R, from_row


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """The right to make one attempt: a fence that was read, to be raised."""

    id: UUID
    series: int
    attempts: int
    fence: int


CLAIM: Final = f"""
UPDATE requests r SET callback_fence = r.callback_fence + 1, callback_owner = $1,
    callback_due_at = now() + $2::interval
FROM {ASYNC_COMMIT} CROSS JOIN unnest($3::uuid[], $4::integer[], $5::integer[], $6::integer[])
    AS c (id, series, attempts, fence)
WHERE r.id = c.id AND r.callback_series = c.series AND r.callback_attempts = c.attempts AND r.callback_fence = c.fence
    AND r.callback_status = 'PENDING'
RETURNING {COLUMNS_OF_R}
"""


async def claim(pool: Fetches, owner: UUID, lease: timedelta, claims: Sequence[Claim]) -> list[Request | None]:
    """Claims many next attempts, due or not; None for each that another owner has claimed."""
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


# Only the replica that runs a benchmark knows its receivers: another one would refuse their addresses for good. What
# has been due for 15 minutes belongs to a run that has ended, and is to be refused.
CLAIM_DUE: Final = f"""
WITH RECURSIVE -- The destinations with pending callbacks: a loose index scan.
destinations AS (
    (SELECT callback_origin AS origin FROM requests
    WHERE callback_status = 'PENDING' AND callback_due_at IS NOT NULL
    ORDER BY callback_origin LIMIT 1)
    UNION ALL
    SELECT (
        SELECT callback_origin FROM requests
        WHERE callback_status = 'PENDING' AND callback_due_at IS NOT NULL AND callback_origin > destinations.origin
        ORDER BY callback_origin LIMIT 1)
    FROM destinations WHERE destinations.origin IS NOT NULL),
-- Of every destination those that are due longest, as many as it has room for.
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
-- Those of them that no other statement has locked.
due AS MATERIALIZED (
    SELECT r.id FROM requests r JOIN first USING (id)
    WHERE r.callback_status = 'PENDING' AND r.callback_due_at < now() - $4::interval
    FOR UPDATE OF r SKIP LOCKED)
UPDATE requests r SET callback_fence = r.callback_fence + 1, callback_owner = $1,
    callback_due_at = now() + $2::interval
FROM {ASYNC_COMMIT} CROSS JOIN due WHERE r.id = due.id
RETURNING {COLUMNS_OF_R}
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
    """Claims attempts that have been due for `late`, taking turns between destinations.

    A destination gets no more than its room in `rooms`, or `elsewhere` where it is not named. Those `held` here are
    skipped even when their lease has expired: a higher fence would refuse the record of the running attempt.
    Callbacks of a benchmark are claimed only if they go to one of this replica's own `receivers`.
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
UPDATE requests r SET callback_owner = NULL, callback_due_at = now() + $3::interval FROM {ASYNC_COMMIT}
WHERE r.id = ANY($2::uuid[]) AND r.callback_owner = $1 AND r.callback_status = 'PENDING'
"""


async def give_back(pool: Fetches, owner: UUID, ids: Sequence[UUID], wait: timedelta = timedelta(seconds=-1)) -> None:
    """Releases claimed attempts, which are due at once or after a wait; this does not count as an attempt."""
    await pool.fetch(GIVE_BACK, owner, list(ids), wait)
