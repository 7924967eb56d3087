"""Pieces that every report statement is made of.

COPY takes no parameters, so values are written into the text: numbers, dates and text only, each by its own rule.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any, Final

# What makes a formula, also full-width and small, as East Asian spreadsheets take it; where a cell may begin: at the
# start, or after what a spreadsheet may split at; and what it may pass over before the formula. Code points are written
# as escapes, which databases of every encoding accept.
SIGNS: Final = r"=+\-@\uFF1D\uFF0B\uFF0D\uFF20\uFE66\uFE62\uFE63\uFE6B"
STARTS: Final = r"^|[;,|:\t\n\v\f\r\u0085\u2028\u2029\uFF0C\uFF1B]"
PASSED_OVER: Final = r'[ \t\n\v\f\r"\u00A0\u200B-\u200D\u2060\u3000\uFEFF]*'
FORMULA: Final = f"({STARTS})({PASSED_OVER})([{SIGNS}])"
SUSPECT: Final = rf"[{SIGNS}]|^[\t\r]"


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """One execution of a report: its parameters and the snapshot of the ledger that it sees."""

    ledger_id: int
    version: int
    exponent: int = 0
    parameters: dict[str, Any]
    csv_guard: bool

    def day(self, name: str) -> date:
        """A date parameter."""
        return date.fromisoformat(self.parameters[name])

    @property
    def postings(self) -> str:
        """The condition that selects the entries of the snapshot."""
        return f"ledger_id = {int(self.ledger_id)} AND version <= {int(self.version)}"

    @property
    def accounts(self) -> str:
        """The condition that selects the accounts of the snapshot."""
        return self.postings

    @property
    def interval(self) -> str:
        """The condition that selects the snapshot's entries from `from` up to the day before `to`."""
        return f"{self.before('to')} AND posted_on >= {literal(self.day('from'))}"

    def before(self, name: str) -> str:
        """The condition that selects the snapshot's entries before a date parameter."""
        return f"{self.postings} AND {self.is_before('posted_on', name)}"

    def is_before(self, column: str, name: str) -> str:
        """The condition that a day is before a date parameter. The calendar's last day, as `to`, includes itself."""
        day = self.day(name)
        return f"{column} {'<=' if name == 'to' and day == date.max else '<'} {literal(day)}"

    def balance_before(self, name: str) -> str:
        """The balance of the account `account_id` of table `accounts` before a date parameter, from kept balances."""
        return f"""(
        SELECT sum(last.amount) FROM generate_series(1, {int(self.version)}) AS v CROSS JOIN LATERAL (
            SELECT amount FROM balances
            WHERE ledger_id = {int(self.ledger_id)} AND account_id = accounts.account_id AND version = v
                AND {self.is_before("day", name)} ORDER BY day DESC LIMIT 1) AS last)"""

    def money(self, expression: str) -> str:
        """Minor units as major units, with the currency's number of decimals."""
        unit = f"{10**-self.exponent:.{self.exponent}f}" if self.exponent else "1"
        return f"(coalesce({expression}, 0) * {unit})"

    def cell(self, expression: str) -> str:
        """A text cell that no spreadsheet takes for a formula."""
        if not self.csv_guard:
            return expression
        quote = rf"CASE WHEN left({expression}, 1) IN (E'\t', E'\r') THEN '''' ELSE '' END"
        inner = rf"regexp_replace({expression}, '{FORMULA}', '\1\2''\3', 'g')"
        return f"CASE WHEN {expression} ~ '{SUSPECT}' THEN {quote} || {inner} ELSE {expression} END"


def literal(value: date | str | int | bool) -> str:
    """A value as SQL."""
    match value:
        case bool():
            return "true" if value else "false"
        case int():
            return str(value)
        case date():
            return f"DATE '{value.isoformat()}'"
        case str():
            if "\0" in value:
                raise ValueError("text with NUL")
            return "'" + value.replace("'", "''") + "'"


def texts(values: Sequence[str]) -> str:
    """A list of texts as an SQL array."""
    return f"ARRAY[{', '.join(literal(value) for value in values)}]::text[]"
