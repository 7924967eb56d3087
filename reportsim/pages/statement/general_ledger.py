"""The general ledger: the entries of each account between what it brings forward and its closing balance."""

import itertools
from collections.abc import Sequence
from typing import Final

from reportsim.pages.statement.csv_page import CsvPage, Row
from reportsim.pages.statement.model import Amount, Column, Kind, Line, Source, Table
from reportsim.pages.statement.rows import minor, row_line, shorten

LABELS: Final = {"date": "Date", "transaction_id": "Transaction", "description": "Description"}
HEADS: Final = {"debit": "Debit", "credit": "Credit", "running_balance": "Balance"}


def lay_out_general_ledger(source: Source) -> Table:
    """The page of a general ledger; its totals are on the last page."""
    page, totals = source.page, source.result["totals"]
    columns = [Column(name=name, head=head, has_entries=False, totals=totals) for name, head in HEADS.items()]
    groups = [
        account_lines(list(rows), page, columns)
        for _, rows in itertools.groupby(page.rows, lambda row: row["account_code"])
    ]
    if page.is_last:
        amounts = [Amount(totals["debit"]), Amount(totals["credit"]), None]
        groups.append([Line(kind=Kind.TOTAL, labels=["Total"], amounts=amounts)])
    return Table(labels=list(LABELS.values()), columns=columns, groups=groups)


def account_lines(rows: Sequence[Row], page: CsvPage, columns: Sequence[Column]) -> list[Line]:
    """The lines of an account on a page; its closing balance where its entries end."""
    first, last = rows[0], rows[-1]
    forward = minor(first["running_balance"]) - minor(first["debit"]) + minor(first["credit"])
    lines = [
        Line(kind=Kind.HEAD, labels=[shorten(f"{first['account_code']} {first['account_name']}")]),
        Line(kind=Kind.FORWARD, labels=["Brought forward"], amounts=[None, None, Amount(forward)]),
        *(row_line(row, list(LABELS), columns) for row in rows),
    ]
    follows = page.cut if page.after is None else page.after["account_code"] == last["account_code"]
    if last is not page.rows[-1] or not follows:
        closing = [None, None, Amount(minor(last["running_balance"]))]
        lines.append(Line(kind=Kind.SUBTOTAL, labels=["Closing balance"], amounts=closing))
    return lines
