"""The cells of a report file as what a statement shows."""

from collections.abc import Sequence
from typing import Final
from urllib.parse import urlencode

from reportsim.pages.statement.csv_page import Row
from reportsim.pages.statement.model import Amount, Column, Kind, Line
from reportsim.reports.balance_sheet import CURRENT, PRIOR

LONGEST_TEXT: Final = 200
# The rows of a balance sheet that belong to no account.
EARNINGS: Final = {PRIOR: "prior", CURRENT: "current"}


def shorten(text: str) -> str:
    """The beginning of a text that is too long for a statement."""
    return text if len(text) <= LONGEST_TEXT else f"{text[:LONGEST_TEXT]}…"


def minor(cell: str) -> int:
    """An amount of a file in minor units: files have all decimals of the currency."""
    return int(cell.replace(".", ""))


def row_line(row: Row, labels: Sequence[str], columns: Sequence[Column]) -> Line:
    """The line of a row of a file."""
    return Line(
        kind=Kind.ROW,
        labels=[shorten(row[label]) for label in labels],
        amounts=[read_amount(row, column) for column in columns],
    )


def read_amount(row: Row, column: Column) -> Amount:
    """The figure of a row in a column, with what names its entries where it has some."""
    amount = minor(row[column.period_start or column.name])
    return Amount(amount, name_source(row, column) if amount and column.has_entries else None)


def name_source(row: Row, column: Column) -> str:
    """What names a figure: its column, its account or what stands for one, and its period where there are several."""
    account = {"account": row["account_code"]} if row["account_code"] else {"earnings": EARNINGS[row["account_name"]]}
    start = column.period_start or row.get("period_start")
    period = {"period_start": start} if start else {}
    return urlencode({"column": column.name, **account, **period})


def name_sum(name: str, column: Column) -> str:
    """What names a sum of accounts: its column, its line, and its period where periods have columns."""
    period = {"period_start": column.period_start} if column.period_start else {}
    return urlencode({"column": column.name, "sum": name, **period})
