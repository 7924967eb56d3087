"""Deleting requests that ended before the retention time."""

from collections.abc import Sequence
from datetime import timedelta
from typing import Final
from uuid import UUID

from reportsim.store.pool import Pool

PRUNE: Final = """
DELETE FROM requests WHERE id IN (
    SELECT id FROM requests
    WHERE id < $1 AND status IN ('COMPLETED', 'FAILED') AND callback_status IS DISTINCT FROM 'PENDING'
        AND completed_at < now() - $2::interval
    ORDER BY id LIMIT $3)
RETURNING id
"""


async def prune(pool: Pool, before: UUID, age: timedelta, limit: int) -> list[UUID]:
    """Deletes the oldest ended requests, a small batch at a time."""
    return [row["id"] for row in await pool.fetch(PRUNE, before, age, limit)]


SELECT_EXISTING: Final = "SELECT id FROM requests WHERE id = ANY($1::uuid[])"


async def existing(pool: Pool, ids: Sequence[UUID]) -> set[UUID]:
    """Those of some requests that have a row."""
    return {row["id"] for row in await pool.fetch(SELECT_EXISTING, ids)}
