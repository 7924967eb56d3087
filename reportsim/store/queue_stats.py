"""What is known of the queue as a whole: how much waits, and what the planner believes of its table."""

from dataclasses import dataclass
from typing import Final

from reportsim.store.pool import Pool

SELECT_BACKLOG: Final = """
SELECT (SELECT count(*) FROM requests WHERE status = 'PENDING' AND run_id IS NULL) AS pending,
    (SELECT count(*) FROM requests WHERE status = 'PROCESSING' AND run_id IS NULL) AS processing,
    (SELECT coalesce(extract(epoch FROM now() - min(created_at)), 0) FROM requests WHERE id = (
        SELECT id FROM requests WHERE status = 'PENDING' AND owner IS NULL ORDER BY id LIMIT 1)) AS age,
    (SELECT count(*) FROM requests
        WHERE callback_status = 'PENDING' AND callback_due_at IS NOT NULL AND callback_due_at < now()) AS due
"""


@dataclass(frozen=True, slots=True)
class Backlog:
    """What waits: requests by state, the age of the oldest in seconds, callback attempts past their time."""

    states: dict[str, int]
    age: float
    callbacks_due: int


async def backlog(pool: Pool) -> Backlog:
    """Counts what waits in this database, on all replicas."""
    row = await pool.fetchrow(SELECT_BACKLOG)
    assert row is not None
    states = {"PENDING": row["pending"], "PROCESSING": row["processing"]}
    return Backlog(states, max(float(row["age"]), 0.0), row["due"])


SELECT_OUTGROWN: Final = "SELECT reltuples < $1 FROM pg_class WHERE oid = 'requests'::regclass"
# What a vacuum or another replica is at is left to it: the sweep must not wait.
ANALYZE: Final = "ANALYZE (SKIP_LOCKED) requests, callback_logs"


async def analyze_if_outgrown(pool: Pool, rows: int) -> bool:
    """Gathers statistics if the planner knows of fewer than so many requests; says whether that was so.

    Statements keep the plan that they were given at first. Those of a table that was empty then read all of it, and
    autovacuum would look only after a minute.
    """
    outgrown: bool = await pool.fetchval(SELECT_OUTGROWN, rows)
    if outgrown:
        await pool.execute(ANALYZE)
    return outgrown
