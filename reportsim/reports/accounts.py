"""Finds accounts by how report files write their codes."""

from typing import Final

from reportsim.core.model import Request
from reportsim.reports.sql import guarded
from reportsim.store.pool import Connection

# Two codes may be written as one, since the guard against formulas adds characters.
SELECT_CODES: Final = f"""
SELECT code FROM accounts WHERE ledger_id = $1 AND version <= $2 AND {guarded("code")} = $4 ORDER BY code
"""


async def find_codes(connection: Connection, request: Request, written: str) -> list[str]:
    """The codes that the file of a request writes in this way."""
    rows = await connection.fetch(SELECT_CODES, request.ledger_id, request.ledger_version, request.csv_guard, written)
    return [row["code"] for row in rows]
