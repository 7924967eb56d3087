"""The trial balance: two sides of each of opening, movement and closing."""

from typing import Final

from reportsim.pages.statement.model import Column, Kind, Line, Source, Table
from reportsim.pages.statement.rows import row_line

BLOCKS: Final = (("opening", "Opening"), ("period", "Period"), ("closing", "Closing"))
SIDES: Final = (("debit", "Debit"), ("credit", "Credit"))


def lay_out_trial_balance(source: Source) -> Table:
    """The page of a trial balance; its totals are on the last page."""
    columns = [
        Column(name=f"{block}_{side}", group=group, head=head, totals=source.result["totals"])
        for block, group in BLOCKS
        for side, head in SIDES
    ]
    groups = [[row_line(row, ["account_code", "account_name"], columns) for row in source.page.rows]]
    if source.page.is_last:
        groups.append(
            [Line(kind=Kind.TOTAL, labels=["Total"], amounts=[column.sum([column.name]) for column in columns])]
        )
    return Table(labels=["Code", "Account"], columns=columns, groups=groups)
