"""Statements with sections: income statement, balance sheet, and cash flow statement."""

import itertools
from collections.abc import Iterator, Mapping, Sequence
from typing import Final

from reportsim.pages.statement.csv_page import CsvPage, Row
from reportsim.pages.statement.layout import LAYOUTS, Section, Sum
from reportsim.pages.statement.model import Amount, Column, Kind, Line, Source, Table
from reportsim.pages.statement.periods import describe_column, period_unit
from reportsim.pages.statement.rows import name_sum, row_line

LABELS: Final = {"account_code": "Code", "account_name": "Account"}


def lay_out_sections(report_type: str, source: Source) -> Table:
    """The page of a statement that has sections; its last lines are on the last page."""
    labels = LABELS if period_unit(source.parameters) is None else {**LABELS, "period_start": "Period from"}
    return lay_out_columns(report_type, source.page, amount_columns(source), labels)


def lay_out_columns(report_type: str, page: CsvPage, columns: Sequence[Column], labels: Mapping[str, str]) -> Table:
    """The page of a statement that has sections, with some columns of figures, and the heads of those of text."""
    layout = LAYOUTS[report_type]
    groups = [
        section_lines(section, rows, page, list(labels), columns) for section, rows in split(layout.sections, page)
    ]
    if page.is_last:
        groups.append([sum_line(item, columns) for item in layout.sums])
    return Table(labels=list(labels.values()), columns=columns, groups=groups)


def amount_columns(source: Source) -> list[Column]:
    """The amounts; where they are compared, the others and the differences too."""
    result = source.result
    columns = [Column(name="amount", head=describe_column(source.parameters), totals=result["totals"])]
    if (comparison := result.get("comparison")) is not None:
        columns += [
            Column(name="compare_amount", head=describe_column(comparison), totals=comparison["totals"]),
            Column(name="difference", head="Change", has_entries=False, totals=comparison["difference"]),
        ]
    return columns


def split(sections: Sequence[Section], page: CsvPage) -> Iterator[tuple[Section, list[Row]]]:
    """The rows of each section, in the order of the statement where all are on the page, else in that of the file."""
    found = {key: list(rows) for key, rows in itertools.groupby(page.rows, lambda row: row["section"])}
    if page.is_whole:
        return ((section, found.get(section.key, [])) for section in sections)
    by_key = {section.key: section for section in sections}
    return ((by_key[key], rows) for key, rows in found.items())


def section_lines(
    section: Section, rows: Sequence[Row], page: CsvPage, names: Sequence[str], columns: Sequence[Column]
) -> list[Line]:
    """The lines of a section on a page; the one beneath them where the section ends."""
    continued = page.before is not None and page.before["section"] == section.key
    head = Line(kind=Kind.HEAD, labels=[f"{section.title} (continued)" if continued else section.title])
    lines = [head, *(row_line(row, names, columns) for row in rows)]
    is_last = not rows or rows[-1] is page.rows[-1]
    follows = page.cut if page.after is None else page.after["section"] == section.key
    if not (is_last and follows):
        lines.append(sum_line(section.subtotal, columns))
    return lines


def sum_line(item: Sum, columns: Sequence[Column]) -> Line:
    """A line with sums of the report's totals."""
    return Line(kind=item.kind, labels=[item.title], amounts=[read_sum(item, column) for column in columns])


def read_sum(item: Sum, column: Column) -> Amount:
    """The sum in a column, with what names its entries where it has some."""
    amount = column.sum(item.totals)
    has_entries = item.accounts and amount.minor and column.has_entries
    return Amount(amount.minor, name_sum(item.name, column)) if has_entries else amount
