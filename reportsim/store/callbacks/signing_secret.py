"""The signing secret that is kept in the database when the settings have none."""

from typing import Final

from reportsim.store.pool import Connection, Pool

SECRET: Final = """
WITH made AS (INSERT INTO webhook_secrets (secret) VALUES ($1) ON CONFLICT DO NOTHING RETURNING secret)
SELECT secret FROM made UNION ALL SELECT secret FROM webhook_secrets LIMIT 1
"""


async def keep_secret(pool: Pool | Connection, candidate: str) -> str:
    """The signing secret kept in the database; the candidate becomes it when there was none."""
    secret: str | None = None
    while secret is None:
        # Nothing is found when another process committed its secret while this statement ran.
        secret = await pool.fetchval(SECRET, candidate)
    return secret
