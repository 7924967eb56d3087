"""A statement by month or quarter: a row for each account, and a column for each period, in pages of both."""

import asyncio
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, BinaryIO, Final

from reportsim.pages.statement.csv_page import MOST_BYTES, CsvPage, Row
from reportsim.pages.statement.model import Column, Table
from reportsim.pages.statement.periods import (
    describe_column,
    describe_part,
    first_day,
    last_day,
    period_number,
    period_unit,
)
from reportsim.pages.statement.rows import minor
from reportsim.pages.statement.sections import LABELS, lay_out_columns
from reportsim.reports.files.csv_text import iterate_records

ACCOUNTS: Final = 100
# A year of months, which fits a printed page.
PERIODS: Final = 12
# How many rows are read before others use the event loop: about a millisecond.
AT_ONCE: Final = 100


@dataclass(frozen=True, slots=True)
class Account:
    """The figures of an account in minor units, by the first days of their periods."""

    labels: Row
    amounts: Counter[str] = field(default_factory=Counter)

    def row(self) -> Row:
        """The figures as a row with a cell for each period, and one for their sum."""
        cells = {start: str(amount) for start, amount in self.amounts.items()}
        return {**self.labels, **cells, "amount": str(self.amounts.total())}


@dataclass(frozen=True, slots=True)
class Matrix:
    """The figures of a file by account and period, and their sums by period and section."""

    accounts: list[Account] = field(default_factory=list)
    sums: dict[str, Counter[str]] = field(default_factory=dict)

    def add(self, row: Row) -> None:
        """Adds a row of the file, where those of an account follow each other."""
        labels = {name: row[name] for name in ("section", *LABELS)}
        if not self.accounts or self.accounts[-1].labels != labels:
            self.accounts.append(Account(labels))
        start, amount = row["period_start"], minor(row["amount"])
        self.accounts[-1].amounts[start] += amount
        self.sums.setdefault(start, Counter())[row["section"]] += amount

    def period_column(self, start: str, head: str) -> Column:
        """The column of a period, with the sums of its sections."""
        sums = self.sums.get(start, Counter())
        revenue, expense = sums["revenue"], sums["expense"]
        totals = {"revenue": revenue, "expense": expense, "net_income": revenue - expense}
        return Column(name="amount", period_start=start, head=head, totals=totals)


def has_matrix(parameters: Mapping[str, Any], result: Mapping[str, Any]) -> bool:
    """Whether a report is shown as a matrix: it is by period, and not too long to be read as a whole for its sums."""
    return period_unit(parameters) is not None and result["bytes"] <= MOST_BYTES


async def read_matrix(file: BinaryIO) -> Matrix:
    """The figures of a whole file; others use the event loop in between."""
    matrix = Matrix()
    records = iterate_records(file.read())
    header = next(records)
    for number, cells in enumerate(records):
        matrix.add(dict(zip(header, cells, strict=True)))
        if number % AT_ONCE == 0:
            await asyncio.sleep(0)
    return matrix


@dataclass(frozen=True, slots=True, kw_only=True)
class MatrixPages:
    """The pages of a matrix: for each range of periods those of all accounts; ranges without figures are left out."""

    matrix: Matrix
    parameters: Mapping[str, Any]
    totals: Mapping[str, int]
    unit: str
    ranges: list[range]

    @property
    def pages_of_accounts(self) -> int:
        """How many pages a range of periods has."""
        return max(-(-len(self.matrix.accounts) // ACCOUNTS), 1)

    @property
    def count(self) -> int:
        """How many pages there are."""
        return len(self.ranges) * self.pages_of_accounts

    def lay_out(self, report_type: str, number: int) -> Table:
        """The table of a page, by its number from 1 on."""
        periods, part = divmod(number - 1, self.pages_of_accounts)
        columns = [*map(self.column, self.ranges[periods]), self.total_column()]
        return lay_out_columns(report_type, self.page(part, columns), columns, LABELS)

    def page(self, part: int, columns: list[Column]) -> CsvPage:
        """The accounts of a page as rows, with those before and after them."""
        first, after = part * ACCOUNTS, (part + 1) * ACCOUNTS
        nothing = {column.period_start: "0" for column in columns if column.period_start}
        lead = min(first, 1)
        rows = [{**nothing, **account.row()} for account in self.matrix.accounts[first - lead : after + 1]]
        before, shown, rest = rows[:lead], rows[lead : lead + ACCOUNTS], rows[lead + ACCOUNTS :]
        return CsvPage(before=before[0] if before else None, rows=shown, after=rest[0] if rest else None, cut=False)

    def column(self, number: int) -> Column:
        """The column of a period, of which the interval may have a part only."""
        start = max(first_day(number, self.unit), self.parameters["from"])
        after = min(first_day(number + 1, self.unit), self.parameters["to"])
        return self.matrix.period_column(start, describe_part(start, after, self.unit))

    def total_column(self) -> Column:
        """The column of the whole interval, with the totals of the result."""
        head = "Total" if len(self.ranges) == 1 else f"Total {describe_column(self.parameters)}"
        return Column(name="amount", head=head, totals=self.totals)


def paginate(matrix: Matrix, parameters: Mapping[str, Any], result: Mapping[str, Any]) -> MatrixPages:
    """The pages of a matrix; a matrix without figures has its first periods."""
    unit = period_unit(parameters)
    assert unit is not None
    first, last = (period_number(day, unit) for day in (parameters["from"], last_day(parameters["to"])))
    found = {(period_number(start, unit) - first) // PERIODS for start in matrix.sums} or {0}
    starts = [first + index * PERIODS for index in sorted(found)]
    ranges = [range(start, min(start + PERIODS, last + 1)) for start in starts]
    return MatrixPages(matrix=matrix, parameters=parameters, totals=result["totals"], unit=unit, ranges=ranges)
