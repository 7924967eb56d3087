"""Pieces that every report statement is made of.

The statements are constants: $1 is the ledger, $2 the version, $3 whether cells are guarded against formulas, and what
follows are the report's own parameters.
"""

from typing import Final

from reportsim.store.ledgers import finite

# The ledger's currency, and the minor unit as a number whose scale is the currency's number of decimals: computed once,
# since the planner would write its expression into each place where an amount is formatted.
LEDGER: Final = """ledger AS MATERIALIZED (
    SELECT currency, exponent, ('1e-' || exponent)::numeric AS unit FROM ledgers WHERE ledger_id = $1)"""


# The day `from`, and the day `to` or the end of time. asyncpg sends the first and the last day of the calendar as
# infinities; as `to`, the last one thus includes itself.
FROM: Final = finite("$4")
TO: Final = "$5"

# The days of a comparison, none of which reaches the last day of the calendar.
COMPARED_FROM: Final = finite("$6")
COMPARED_TO: Final = finite("$7")


def totals(account: str, day: str) -> str:
    """The kept totals of an account before a day: one row, of zeros where there is nothing.

    The sum hides the version from the index: it would search each page for it, while the first row nearly always fits.
    """
    return f"""(
        SELECT coalesce(balance, 0) AS balance, coalesce(debit, 0) AS debit, coalesce(credit, 0) AS credit,
            coalesce(entries, 0) AS entries, coalesce(cash, 0) AS cash
        FROM (SELECT) AS one LEFT JOIN LATERAL (
            SELECT balance, debit, credit, entries, cash FROM balances
            WHERE ledger_id = $1 AND account_id = {account} AND day < {day} AND version + 0 <= $2
            ORDER BY day DESC, version DESC LIMIT 1) AS last ON true)"""


def money(expression: str) -> str:
    """Minor units as major units, with the currency's number of decimals."""
    return f"({expression} * unit)"
