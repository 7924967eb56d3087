"""What replicas tell each other of used quotas: by NOTIFY, and for those where that does not arrive by a table."""

from datetime import datetime, timedelta
from typing import Final

from reportsim.store.pool import Connection, Pool

CHANNEL: Final = "reportsim_consumption"
# Commits come out of order: what was told before the last look may only be seen now.
OVERLAP: Final = timedelta(seconds=2)
MAX_NOTICES: Final = 1_000

# What all have seen is deleted on the way.
TELL: Final = """
WITH told AS (INSERT INTO consumption_notices (service, notice) VALUES ($1, $2)),
    old AS (DELETE FROM consumption_notices WHERE told_at < clock_timestamp() - interval '1 minute')
SELECT pg_notify($3, $2)
"""
SELECT_NOTICES: Final = """
SELECT id, notice, told_at FROM consumption_notices WHERE told_at > $1 AND service <> $2 ORDER BY told_at LIMIT $3
"""


async def tell(connection: Connection, service: str, notice: str) -> None:
    """Tells other replicas, those that listen and those that look into the table."""
    await connection.execute(TELL, service, notice, CHANNEL)


async def told_since(pool: Pool, moment: datetime, service: str) -> tuple[dict[int, str], datetime]:
    """What others told since shortly before a moment, by id, and the moment of the newest of it."""
    rows = await pool.fetch(SELECT_NOTICES, moment - OVERLAP, service, MAX_NOTICES)
    latest = max([moment, *(row["told_at"] for row in rows)])
    return {row["id"]: row["notice"] for row in rows}, latest
