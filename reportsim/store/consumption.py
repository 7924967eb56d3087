"""What replicas tell each other of used quotas: by NOTIFY, or where that does not arrive by a table."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Final

from reportsim.store.pool import Pool

CHANNEL: Final = "reportsim_consumption"
# Commits come out of order: what was told before the last look may only be seen now.
OVERLAP: Final = timedelta(seconds=2)
MAX_NOTICES: Final = 1_000

INSERT_NOTICES: Final = """
INSERT INTO consumption_notices (service, notice) SELECT $1, unnest($2::text[])
"""
SELECT_NOTICES: Final = """
SELECT id, notice, told_at FROM consumption_notices WHERE told_at > $1 AND service <> $2 ORDER BY told_at LIMIT $3
"""
DELETE_OLD: Final = "DELETE FROM consumption_notices WHERE told_at < clock_timestamp() - interval '1 minute'"


async def tell(pool: Pool, service: str, notices: Sequence[str]) -> None:
    """Tells other replicas by the table, and deletes what all have seen."""
    await pool.execute(INSERT_NOTICES, service, list(notices))
    await pool.execute(DELETE_OLD)


async def told_since(pool: Pool, moment: datetime, service: str) -> tuple[dict[int, str], datetime]:
    """What others told since shortly before a moment, by id, and the moment of the newest of it."""
    rows = await pool.fetch(SELECT_NOTICES, moment - OVERLAP, service, MAX_NOTICES)
    latest = max([moment, *(row["told_at"] for row in rows)])
    return {row["id"]: row["notice"] for row in rows}, latest
