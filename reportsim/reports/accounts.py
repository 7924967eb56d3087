"""Finds accounts: by how report files write their codes, and by what they are."""

from collections.abc import Sequence
from typing import Final

from reportsim.core.model import Request
from reportsim.reports.csv_guard import guarded
from reportsim.store.pool import Connection

# Two codes may be written as one, since the guard against formulas adds characters.
SELECT_CODES: Final = f"""
SELECT code FROM accounts WHERE ledger_id = $1 AND version <= $2 AND {guarded("code")} = $4 ORDER BY code
"""

# Types and sections have no name in common.
SELECT_CODES_OF: Final = """
SELECT code FROM accounts
WHERE ledger_id = $1 AND version <= $2 AND (type = ANY($3) OR (cf_section = ANY($3) AND NOT is_cash))
ORDER BY code LIMIT $4
"""


async def find_codes(connection: Connection, request: Request, written: str) -> list[str]:
    """The codes that the file of a request writes in this way."""
    rows = await connection.fetch(SELECT_CODES, request.ledger_id, request.ledger_version, request.csv_guard, written)
    return [row["code"] for row in rows]


async def find_codes_of(connection: Connection, request: Request, kinds: Sequence[str], most: int) -> list[str]:
    """The codes of the accounts of some types, and of those of some sections that are not cash."""
    rows = await connection.fetch(SELECT_CODES_OF, request.ledger_id, request.ledger_version, kinds, most)
    return [row["code"] for row in rows]
