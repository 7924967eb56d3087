"""Pieces that every report statement is made of.

The statements are constants: $1 is the ledger, $2 the version, $3 whether cells are guarded against formulas, and what
follows are the report's own parameters.
"""

from typing import Final

from reportsim.store.ledgers import finite

# What makes a formula, also full-width and small, as East Asian spreadsheets take it; where a cell may begin: at the
# start, or after what a spreadsheet may split at; and what it may pass over before the formula. Code points are written
# as escapes, which databases of every encoding accept.
SIGNS: Final = r"=+\-@\uFF1D\uFF0B\uFF0D\uFF20\uFE66\uFE62\uFE63\uFE6B"
STARTS: Final = r"^|[;,|:\t\n\v\f\r\u0085\u2028\u2029\uFF0C\uFF1B]"
PASSED_OVER: Final = r'[ \t\n\v\f\r"\u00A0\u200B-\u200D\u2060\u3000\uFEFF]*'
FORMULA: Final = f"({STARTS})({PASSED_OVER})([{SIGNS}])"
SUSPECT: Final = rf"[{SIGNS}]|^[\t\r]"
# What stands in a cell as it is: neither quotes nor a guard can be needed. Most texts are like that.
PLAIN: Final = rf'^[^{SIGNS}",\t\n\r]+$'

# The ledger's currency, and the minor unit as a number whose scale is the currency's number of decimals.
LEDGER: Final = "SELECT currency, exponent, ('1e-' || exponent)::numeric AS unit FROM ledgers WHERE ledger_id = $1"


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


def guarded(expression: str) -> str:
    """A text that no spreadsheet takes for a formula, where $3 asks for that."""
    quote = rf"CASE WHEN left({expression}, 1) IN (E'\t', E'\r') THEN '''' ELSE '' END"
    inner = rf"regexp_replace({expression}, '{FORMULA}', '\1\2''\3', 'g')"
    return f"CASE WHEN $3 AND {expression} ~ '{SUSPECT}' THEN {quote} || {inner} ELSE {expression} END"


def cell(expression: str) -> str:
    """A text as a cell of a CSV line, in quotes where it has to be (RFC 4180) or is empty; nothing for NULL."""
    return f"""coalesce(CASE WHEN {expression} ~ '{PLAIN}' THEN {expression} ELSE (
        SELECT CASE WHEN text = '' OR text ~ E'[",\\n\\r]' THEN '"' || replace(text, '"', '""') || '"' ELSE text END
        FROM (SELECT {guarded(expression)} AS text OFFSET 0) AS guarded) END, '')"""
