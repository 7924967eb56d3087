"""Renewing and releasing the leases of one owner: its requests, and the callbacks that it is delivering."""

from collections.abc import Iterable, Sequence
from datetime import timedelta
from typing import Final
from uuid import UUID

from reportsim.store.pool import Connection, Fetches

# Locked rows are skipped: waiting for one while holding others could deadlock with `finish`.
RENEW: Final = """
WITH held AS MATERIALIZED (
    SELECT id FROM requests
    WHERE owner = $1 AND status IN ('PENDING', 'PROCESSING') AND run_id IS NULL AND lease_until > '-infinity'
        AND (status = 'PENDING' OR id = ANY($3::uuid[]))
    FOR UPDATE SKIP LOCKED),
delivering AS MATERIALIZED (
    SELECT id FROM requests WHERE id = ANY($4::uuid[]) AND callback_owner = $1 AND callback_status = 'PENDING'
    FOR UPDATE SKIP LOCKED),
work AS (UPDATE requests r SET lease_until = now() + $2::interval FROM held WHERE r.id = held.id)
UPDATE requests r SET callback_due_at = now() + $2::interval FROM delivering WHERE r.id = delivering.id
"""


async def renew(
    connection: Connection, owner: UUID, lease: timedelta, working: Iterable[UUID], delivering: Iterable[UUID]
) -> None:
    """Renews the leases of requests that an owner has waiting, works on and delivers, in one statement.

    A claim whose response got lost is not renewed: it expires, and is taken over.
    """
    await connection.execute(RENEW, owner, lease, list(working), list(delivering))


RELEASE: Final = """
WITH work AS (
    UPDATE requests SET owner = NULL, lease_until = '-infinity', changed_at = clock_timestamp()
    WHERE owner = $1 AND status = 'PROCESSING' AND run_id IS NULL
    RETURNING 1),
waiting AS (
    UPDATE requests SET owner = NULL, lease_until = NULL WHERE owner = $1 AND status = 'PENDING' RETURNING 1)
UPDATE requests SET callback_owner = NULL, callback_due_at = now()
WHERE id = ANY($2::uuid[]) AND callback_owner = $1 AND callback_status = 'PENDING'
"""


async def release(pool: Fetches, owner: UUID, delivering: Sequence[UUID]) -> None:
    """Releases all leases of an owner, so that other replicas need not wait for their expiry."""
    await pool.fetch(RELEASE, owner, list(delivering))
