"""What a reader of a statement should know, and its figures do not say."""

from collections.abc import Mapping
from datetime import date
from typing import Any, Final

from reportsim.core.model import Request
from reportsim.pages.statement.rows import shorten
from reportsim.reports.sql import totals
from reportsim.store.pool import Connection, Pool

NOT_CLOSED: Final = (
    "Revenue and expenses of earlier years are not closed; the balance sheet has them as earnings of prior years."
)
# The codes that a note names.
MOST_NAMED: Final = 3

# A ledger that has been deleted since has no accounts at all.
SELECT_ABSENT: Final = """
SELECT DISTINCT code FROM unnest($3::text[]) AS asked (code)
WHERE EXISTS (SELECT 1 FROM ledgers WHERE ledger_id = $1)
    AND code NOT IN (SELECT code FROM accounts WHERE ledger_id = $1 AND version <= $2)
ORDER BY code
"""
SELECT_NOT_CLOSED: Final = f"""
SELECT EXISTS (
    SELECT 1 FROM accounts AS a CROSS JOIN LATERAL {totals("a.account_id", "$3::date")} AS earlier
    WHERE a.ledger_id = $1 AND a.version <= $2 AND type IN ('revenue', 'expense') AND balance <> 0)
"""
SELECT_FIRST_DAY: Final = "SELECT first_on FROM ledgers WHERE ledger_id = $1"


async def list_notes(pool: Pool, row: Request) -> list[str]:
    """The notes beneath the statement of a completed request."""
    parameters, result = row.input_payload, row.result_payload or {}
    found: list[str | None] = []
    async with pool.acquire() as connection:
        if codes := parameters.get("account_codes"):
            found.append(await note_absent_accounts(connection, row, codes))
        if parameters["report_type"] == "trial_balance":
            found.append(await note_earlier_years(connection, row))
        if comparison := result.get("comparison"):
            found.append(await note_first_day(connection, row, comparison))
    return [note for note in found if note]


async def note_absent_accounts(connection: Connection, row: Request, codes: list[str]) -> str | None:
    """Says which of the accounts that were asked for the ledger does not have."""
    absent = await connection.fetch(SELECT_ABSENT, row.ledger_id, row.ledger_version, codes)
    named = ", ".join(shorten(record["code"]) for record in absent[:MOST_NAMED])
    more = f" and {len(absent) - MOST_NAMED:,} more" if len(absent) > MOST_NAMED else ""
    return f"There is no account {named}{more} in {row.input_payload['ledger']}." if absent else None


async def note_earlier_years(connection: Connection, row: Request) -> str | None:
    """Says why a trial balance opens with revenue and expenses of the years before."""
    new_year = date.fromisoformat(row.input_payload["from"]).replace(month=1, day=1)
    is_open = await connection.fetchval(SELECT_NOT_CLOSED, row.ledger_id, row.ledger_version, new_year)
    return NOT_CLOSED if is_open else None


async def note_first_day(connection: Connection, row: Request, compared: Mapping[str, Any]) -> str | None:
    """Says when the ledger begins, if that is after the days begin that a report is compared with."""
    first_on = await connection.fetchval(SELECT_FIRST_DAY, row.ledger_id)
    begins = date.fromisoformat(compared.get("as_of") or compared["from"])
    return f"The ledger begins {first_on}." if first_on and begins < first_on else None
