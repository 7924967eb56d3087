"""The trial balance: two sides of each of opening, movement and closing."""

from collections.abc import Mapping
from typing import Any, Final

from reportsim.pages.statement.model import Amount, Column, Kind, Line, Source, Table
from reportsim.pages.statement.periods import last_day
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
    total = [column.sum([column.name]) for column in columns]
    if (comparison := source.result.get("comparison")) is not None:
        columns += compared_columns(comparison)
        debit, credit = (comparison["totals"][f"closing_{side}"] for side, _ in SIDES)
        difference = comparison["difference"]
        total += [Amount(debit), Amount(credit), Amount(difference["closing_debit"] - difference["closing_credit"])]
    groups = [[row_line(row, ["account_code", "account_name"], columns) for row in source.page.rows]]
    if source.page.is_last:
        groups.append([Line(kind=Kind.TOTAL, labels=["Total"], amounts=total)])
    return Table(labels=["Code", "Account"], columns=columns, groups=groups)


def compared_columns(comparison: Mapping[str, Any]) -> list[Column]:
    """The closing balances of the other days, and what the report's are above them, debit less credit."""
    totals, group = comparison["totals"], f"Closing {last_day(comparison['to'])}"
    return [
        *(Column(name=f"compare_closing_{side}", group=group, head=head, totals=totals) for side, head in SIDES),
        Column(name="difference", group="Closing balance", head="Change", has_entries=False, totals={}),
    ]
