"""The general ledger: the entries of each account between what it brings forward and its closing balance.

Entries with cash are a selection, which has no balances.
"""

import itertools
from collections.abc import Mapping, Sequence
from typing import Any, Final

from reportsim.pages.statement.csv_page import CsvPage, Row
from reportsim.pages.statement.model import Amount, Column, Kind, Line, Source, Table
from reportsim.pages.statement.rows import minor, row_line, shorten

LABELS: Final = {"date": "Date", "transaction_id": "Transaction", "description": "Description"}
MOVEMENTS: Final = {"debit": "Debit", "credit": "Credit"}
HEADS: Final = {**MOVEMENTS, "running_balance": "Balance"}
# The codes that a title names; of more accounts it says how many there are.
MOST_NAMED: Final = 3


def describe_selection(parameters: Mapping[str, Any]) -> str:
    """The entries that a general ledger is limited to; an empty text where it has all of them."""
    codes = list(dict.fromkeys(parameters.get("account_codes") or ()))
    if len(codes) > MOST_NAMED:
        accounts = f"{len(codes):,} accounts"
    else:
        accounts = f"account{'s' if len(codes) > 1 else ''} {', '.join(map(shorten, codes))}" if codes else ""
    if parameters.get("cash_only"):
        return f"cash entries of {accounts} only" if accounts else "cash entries only"
    return f"{accounts} only" if accounts else ""


def lay_out_general_ledger(source: Source) -> Table:
    """The page of a general ledger; its totals are on the last page."""
    page, totals = source.page, source.result["totals"]
    heads = MOVEMENTS if source.parameters.get("cash_only") else HEADS
    columns = [Column(name=name, head=head, has_entries=False, totals=totals) for name, head in heads.items()]
    groups = [
        account_lines(list(rows), page, columns)
        for _, rows in itertools.groupby(page.rows, lambda row: row["account_code"])
    ]
    if page.is_last:
        amounts = [Amount(totals[name]) if name in totals else None for name in heads]
        groups.append([Line(kind=Kind.TOTAL, labels=["Total"], amounts=amounts)])
    return Table(labels=list(LABELS.values()), columns=columns, groups=groups)


def account_lines(rows: Sequence[Row], page: CsvPage, columns: Sequence[Column]) -> list[Line]:
    """The lines of an account on a page; its closing balance where its entries end, if it has balances."""
    first, last = rows[0], rows[-1]
    head = Line(kind=Kind.HEAD, labels=[shorten(f"{first['account_code']} {first['account_name']}")])
    entries = [row_line(row, list(LABELS), columns) for row in rows]
    if len(columns) == len(MOVEMENTS):
        return [head, *entries]
    forward = minor(first["running_balance"]) - minor(first["debit"]) + minor(first["credit"])
    lines = [
        head,
        Line(kind=Kind.FORWARD, labels=["Brought forward"], amounts=[None, None, Amount(forward)]),
        *entries,
    ]
    follows = page.cut if page.after is None else page.after["account_code"] == last["account_code"]
    if last is not page.rows[-1] or not follows:
        closing = [None, None, Amount(minor(last["running_balance"]))]
        lines.append(Line(kind=Kind.SUBTOTAL, labels=["Closing balance"], amounts=closing))
    return lines
