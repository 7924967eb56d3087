"""What a statement is, as its page shows it."""

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from reportsim.pages.statement.csv_page import CsvPage


class Kind(StrEnum):
    """What a line of a statement is: totals have a rule above them, since they are sums of the lines before."""

    HEAD = "head"
    ROW = "row"
    FORWARD = "forward"
    BALANCE = "balance"
    SUBTOTAL = "subtotal"
    TOTAL = "total"


@dataclass(frozen=True, slots=True)
class Amount:
    """A figure in minor units.

    Attributes:
        source: names the figure where its entries can be requested.
    """

    minor: int
    source: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """A line of a statement.

    Attributes:
        labels: a text for each of the table's columns of text, or one for all of them.
        amounts: a figure or nothing for each of the table's columns of figures.
    """

    kind: Kind
    labels: Sequence[str]
    amounts: Sequence[Amount | None] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Column:
    """A column of figures.

    Attributes:
        name: the column of the file.
        period_start: the first day of its period, where periods have columns.
        group: the head that it shares with the columns beside it.
        has_entries: whether its figures are sums of entries.
        totals: the totals of the report that belong to it.
    """

    name: str
    period_start: str | None = None
    head: str
    group: str = ""
    has_entries: bool = True
    totals: Mapping[str, int]

    def sum(self, names: Sequence[str]) -> Amount:
        """The sum of some of its totals."""
        return Amount(sum(self.totals[name] for name in names))


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """The figures of a page of a statement.

    Attributes:
        labels: the heads of the columns of text.
        groups: the lines, by section or account.
    """

    labels: Sequence[str]
    columns: Sequence[Column]
    groups: Sequence[Sequence[Line]]

    @property
    def column_groups(self) -> list[tuple[str, int]]:
        """The heads that columns share, each with their number; none where no columns do."""
        groups = itertools.groupby(self.columns, lambda column: column.group)
        found = [(name, len(list(columns))) for name, columns in groups]
        return found if any(name for name, _ in found) else []


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """What a page of a statement is made of: the parameters and the result of a report, and a page of its file."""

    parameters: Mapping[str, Any]
    result: Mapping[str, Any]
    page: CsvPage


@dataclass(frozen=True, slots=True, kw_only=True)
class Statement:
    """A page of a statement.

    Attributes:
        selection: the entries that it is limited to; an empty text where it has all of them.
        cut: whether rows are missing, since they are too long.
    """

    selection: str = ""
    period: str
    table: Table
    page: int
    pages: int
    cut: bool
