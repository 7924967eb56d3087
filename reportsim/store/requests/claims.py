"""Claiming waiting requests: from the queue, from an owner's own, and from owners whose leases ran out.

Every claim raises `tries`, which is the fence: only the newest claim may end the request.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final
from uuid import UUID

from reportsim.core.model import Request
from reportsim.store.pool import ASYNC_COMMIT, Fetches
from reportsim.store.requests.rows import COLUMNS_OF_R, from_row

CLAIM_FROM: Final = f"""
WITH -- The oldest waiting requests that no owner has.
unowned AS MATERIALIZED (
    SELECT id FROM requests WHERE status = 'PENDING' AND owner IS NULL{{filter}}
    ORDER BY id LIMIT CASE WHEN $5 THEN 0 ELSE $2 END FOR UPDATE SKIP LOCKED),
-- The oldest waiting requests of this owner that it does not work on yet.
own AS MATERIALIZED (
    SELECT id FROM requests WHERE status = 'PENDING' AND owner = $1 AND id <> ALL($6::uuid[]){{filter}}
    ORDER BY id LIMIT $2 FOR UPDATE SKIP LOCKED),
picked AS (
    SELECT id FROM (SELECT id FROM unowned UNION ALL SELECT id FROM own) AS both_queues ORDER BY id LIMIT $2)
UPDATE requests r SET status = 'PROCESSING', owner = $1, lease_until = now() + $3::interval, tries = tries + 1,
    started_at = greatest($4, r.created_at), changed_at = clock_timestamp()
FROM {ASYNC_COMMIT} CROSS JOIN picked WHERE r.id = picked.id
RETURNING {COLUMNS_OF_R}
"""
CLAIM: Final = CLAIM_FROM.format(filter="")
# Used only while one client holds all slots but one: with the filter the planner reads more of the index.
CLAIM_PASSING_OVER: Final = CLAIM_FROM.format(filter=" AND (client IS DISTINCT FROM $7::bytea OR planned_s <= $8)")


@dataclass(frozen=True, slots=True)
class PassOver:
    """The client whose requests are skipped if they plan to hold a slot for longer than so many seconds."""

    client: bytes
    longer_than_s: float


async def claim(
    pool: Fetches,
    owner: UUID,
    limit: int,
    lease: timedelta,
    started_at: datetime,
    *,
    only_own: bool = False,
    begun: Iterable[UUID] = (),
    pass_over: PassOver | None = None,
) -> list[Request]:
    """Claims the oldest waiting requests, oldest first; fewer than `limit` does not mean that none are left.

    `begun` are requests of the owner that are being worked on, though their rows do not say so.
    """
    arguments = [owner, limit, lease, started_at, only_own, list(begun)]
    if pass_over is None:
        rows = await pool.fetch(CLAIM, *arguments)
    else:
        rows = await pool.fetch(CLAIM_PASSING_OVER, *arguments, pass_over.client, pass_over.longer_than_s)
    return sorted((from_row(row) for row in rows), key=lambda request: request.id)


SELECT_UNOWNED: Final = "SELECT 1 FROM requests WHERE status = 'PENDING' AND owner IS NULL LIMIT 1"


async def has_unowned(pool: Fetches) -> bool:
    """Whether requests are waiting that have no owner."""
    return bool(await pool.fetch(SELECT_UNOWNED))


# The oldest of those that wait for any owner, up to the first that plans to hold a slot for longer: only these are
# locked, since a claim of another replica passes over what is locked.
RESERVE: Final = f"""
WITH oldest AS MATERIALIZED (
    SELECT id, planned_s FROM requests WHERE status = 'PENDING' AND owner IS NULL ORDER BY id LIMIT $2),
short AS (SELECT id, bool_and(planned_s <= $4) OVER (ORDER BY id) AS is_short FROM oldest),
picked AS MATERIALIZED (
    SELECT id FROM requests WHERE id = ANY((SELECT array_agg(id) FROM short WHERE is_short)::uuid[])
        AND CASE WHEN status = 'PENDING' THEN owner IS NULL END
    FOR UPDATE SKIP LOCKED)
UPDATE requests r SET owner = $1, lease_until = now() + $3::interval
FROM {ASYNC_COMMIT} CROSS JOIN picked WHERE r.id = picked.id
RETURNING {COLUMNS_OF_R}
"""


async def reserve(pool: Fetches, owner: UUID, limit: int, lease: timedelta, longest_s: float) -> list[Request]:
    """Makes the oldest waiting requests those of an owner, in their order; they still wait."""
    rows = await pool.fetch(RESERVE, owner, limit, lease, longest_s)
    return sorted((from_row(row) for row in rows), key=lambda request: request.id)


# Async requests belong to an owner only because it has reserved them.
RETURN: Final = """
WITH reserved AS MATERIALIZED (
    SELECT id FROM requests
    WHERE status = 'PENDING' AND owner = $1 AND mode = 'async' AND id <> ALL($2::uuid[])),
free AS MATERIALIZED (
    SELECT id FROM requests WHERE id = ANY((SELECT array_agg(id) FROM reserved)::uuid[])
        AND CASE WHEN status = 'PENDING' THEN owner = $1 END
    FOR UPDATE SKIP LOCKED),
returned AS (UPDATE requests r SET owner = NULL, lease_until = NULL FROM free WHERE r.id = free.id RETURNING r.id)
SELECT EXISTS (SELECT id FROM reserved EXCEPT SELECT id FROM returned) AS is_left
"""


async def return_reserved(pool: Fetches, owner: UUID, keep: Iterable[UUID]) -> bool:
    """Lets any owner claim what one has reserved and what still waits, but for some that it keeps.

    Says whether there are more, which another statement was at.
    """
    return any(row["is_left"] for row in await pool.fetch(RETURN, owner, list(keep)))


# Locked rows are skipped: they are being ended, or are written the next time. Waiting for one while holding others
# could deadlock with `finish`.
BEGIN: Final = f"""
WITH free AS MATERIALIZED (
    SELECT id FROM requests
    WHERE id = ANY($3::uuid[]) AND CASE WHEN status IN ('PENDING', 'PROCESSING') THEN owner = $1 END
    FOR UPDATE SKIP LOCKED)
UPDATE requests r SET status = 'PROCESSING', tries = b.tries, started_at = b.started_at,
    lease_until = now() + $2::interval, changed_at = clock_timestamp()
FROM {ASYNC_COMMIT} CROSS JOIN unnest($3::uuid[], $4::integer[], $5::timestamptz[]) AS b (id, tries, started_at)
JOIN free USING (id)
WHERE r.id = b.id AND r.tries = b.tries - (r.status = 'PENDING')::integer
RETURNING r.id
"""


async def begin(pool: Fetches, owner: UUID, lease: timedelta, begun: Sequence[Request]) -> set[UUID]:
    """Writes that an owner works on requests of its own; returns the ids of the rows that say so now.

    It is idempotent, and can be repeated when its response got lost.
    """
    rows = await pool.fetch(
        BEGIN,
        owner,
        lease,
        [request.id for request in begun],
        [request.tries for request in begun],
        [request.started_at for request in begun],
    )
    return {row["id"] for row in rows}


# Work on a waiting row may have begun without a written claim, as its next try: the new fence must exceed that, too.
TAKE_OVER: Final = f"""
WITH picked AS MATERIALIZED (
    SELECT id FROM requests WHERE status IN ('PENDING', 'PROCESSING') AND run_id IS NULL AND lease_until < now()
        AND ($5::bytea IS NULL OR client IS DISTINCT FROM $5 OR planned_s <= $6::double precision)
    ORDER BY lease_until LIMIT $2 FOR UPDATE SKIP LOCKED)
UPDATE requests r SET status = 'PROCESSING', owner = $1, lease_until = now() + $3::interval,
    tries = tries + CASE status WHEN 'PENDING' THEN 2 ELSE 1 END,
    takeovers = takeovers + (lease_until > '-infinity')::integer, started_at = coalesce(started_at, $4),
    changed_at = clock_timestamp()
FROM {ASYNC_COMMIT} CROSS JOIN picked WHERE r.id = picked.id
RETURNING {COLUMNS_OF_R}
"""


async def take_over(
    pool: Fetches,
    owner: UUID,
    limit: int,
    lease: timedelta,
    started_at: datetime,
    pass_over: PassOver | None = None,
) -> list[Request]:
    """Claims requests whose lease expired, except those of benchmark runs; counts it unless the lease was released."""
    passed_over = (pass_over.client, pass_over.longer_than_s) if pass_over else (None, None)
    rows = await pool.fetch(TAKE_OVER, owner, limit, lease, started_at, *passed_over)
    return [from_row(row) for row in rows]
