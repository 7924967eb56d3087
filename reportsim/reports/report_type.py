"""What a report is: its parameters, its statements, its totals and the checks it must pass."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import date
from typing import Any, Final

from marshmallow import Schema, ValidationError
from marshmallow.fields import Field

from reportsim.core.model import Ledger
from reportsim.reports.fields import IsoDate
from reportsim.reports.sql import Job

Figures = Mapping[str, int]


@dataclass(frozen=True, slots=True)
class Check:
    """An invariant of a report: over its figures it must hold, or the report is not delivered."""

    name: str
    holds: Callable[[Figures], bool]


@dataclass(frozen=True, slots=True, kw_only=True)
class ReportType:
    """One entry of the catalog.

    Attributes:
        version: raised when the same parameters would give other bytes.
        parameters: the schema of the options that only this report has.
        complete: fills in what the ledger's window decides.
        rows: the SELECT that COPY streams into the CSV file.
        figures: the SELECT of one row of integers, computed apart from `rows`: totals and what checks compare.
        totals: the figures that the result shows, in minor units.
        checks: the invariants; `rows`, the number of lines written, is among the figures.
        balance_column: a money column whose last value in the file is the figure `last_balance`.
    """

    name: str
    version: int = 2
    title: str
    parameters: type[Schema]
    complete: Callable[[dict[str, Any], Ledger], dict[str, Any]]
    rows: Callable[[Job], str]
    figures: Callable[[Job], str]
    totals: tuple[str, ...]
    checks: tuple[Check, ...]
    balance_column: int | None = None


# A dict, since `from` is a keyword.
INTERVAL: Final[dict[str, Field[Any]]] = {
    "from": IsoDate(metadata={"description": "First day; by default the ledger's first."}),
    "to": IsoDate(
        metadata={
            "description": "Day after the last; by default the day after the ledger's last."
            " 9999-12-31, which no day follows, is included."
        }
    ),
}


def complete_interval(parameters: dict[str, Any], ledger: Ledger) -> dict[str, Any]:
    """Fills in the ledger's window; an empty or reversed interval is an error."""
    first = parameters.get("from") or ledger.first_on.isoformat()
    after = parameters.get("to") or ledger.after.isoformat()
    if first >= after and after != date.max.isoformat():
        name = "to" if "to" in parameters else "from"
        raise ValidationError({name: [f"The interval [{first}, {after}) is empty."]})
    return {**parameters, "from": first, "to": after}
