"""Starting a new series of attempts for requests whose last series has ended."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final
from uuid import UUID

from reportsim.core.identifiers import uuid7
from reportsim.core.model import CallbackStatus, Request
from reportsim.store.pool import Pool
from reportsim.store.requests.rows import COLUMNS_OF_R, from_row

LATEST_MS: Final = (1 << 48) - 1
# The limit of series of one request.
MAX_SERIES: Final = 20
NEW_SERIES: Final = """callback_series = r.callback_series + 1, callback_attempts = 0, callback_status = 'PENDING',
    callback_fence = r.callback_fence + 1, callback_owner = $1, callback_due_at = now() + $2::interval,
    changed_at = clock_timestamp()"""
REDELIVER: Final = f"""
UPDATE requests r SET {NEW_SERIES}
WHERE r.id = ANY($3::uuid[]) AND r.callback_url IS NOT NULL AND r.callback_status <> 'PENDING'
    AND r.callback_series < {MAX_SERIES}
RETURNING {COLUMNS_OF_R}
"""


async def redeliver(pool: Pool, owner: UUID, lease: timedelta, ids: Sequence[UUID]) -> list[Request]:
    """Starts a new series for each that has none running, below the limit, and claims its first attempt."""
    return [from_row(row) for row in await pool.fetch(REDELIVER, owner, lease, list(ids))]


# Locked rows are skipped. The status is a literal, so that a generic plan uses its index, too.
MATCHING: Final = f"""
WITH picked AS MATERIALIZED (
    SELECT id FROM requests
    WHERE callback_status = '%s' AND run_id IS NULL AND id >= $3 AND callback_series < {MAX_SERIES}
        AND ($4::timestamptz IS NULL OR created_at >= $4) AND ($5::timestamptz IS NULL OR created_at < $5)
        AND ($6::text IS NULL OR mode = $6) AND ($7::text IS NULL OR status = $7)
        AND ($8::text IS NULL OR callback_origin = $8)
    ORDER BY id LIMIT $9 FOR UPDATE SKIP LOCKED)
UPDATE requests r SET {NEW_SERIES}
FROM picked WHERE r.id = picked.id
RETURNING {COLUMNS_OF_R}
"""
REDELIVER_FAILED: Final = MATCHING % CallbackStatus.FAILED
REDELIVER_SUCCESS: Final = MATCHING % CallbackStatus.SUCCESS


@dataclass(frozen=True, slots=True, kw_only=True)
class Matching:
    """Which ended series are to be repeated; None does not filter."""

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
    """A lower bound of the ids generated since a moment; a second less, for the clock differences of replicas."""
    milliseconds = int(moment.timestamp() * 1000) - 1000 if moment else 0
    return uuid7(min(max(milliseconds, 0), LATEST_MS) << 12, bytes(8))
