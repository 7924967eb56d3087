"""What a report is: its parameters, its statement, its totals and the checks it must pass."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import date
from typing import Any, Final

from marshmallow import Schema, ValidationError
from marshmallow.fields import Field

from reportsim.core.model import Ledger
from reportsim.reports.comparison import compared_days
from reportsim.reports.fields import IsoDate

Figures = Mapping[str, int]
Parameters = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Check:
    """An invariant of a report: over its figures it must hold, or the report is not delivered.

    Attributes:
        applies: whether the figures are such that it says anything; if not, it is left out.
    """

    name: str
    holds: Callable[[Figures], bool]
    applies: Callable[[Figures], bool] = lambda figures: True


ROWS_ARE_LINES: Final = Check("rows_are_lines", lambda f: f["rows"] == f["lines"])

COMPARED: Final = "compare_"
COMPARED_COLUMNS: Final = ("compare_amount", "difference")


def of_compared(check: Check) -> Check:
    """The same invariant of the days that a report is compared with, whose figures have a prefix."""
    return Check(
        COMPARED + check.name,
        lambda figures: check.holds(
            {name.removeprefix(COMPARED): value for name, value in figures.items() if name.startswith(COMPARED)}
        ),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Listing:
    """How a report that has too many lines for one answer of the database is streamed.

    Attributes:
        statement: the SELECT of the lines, for COPY, with the parameters of the report's statement.
        figures: the SELECT of the figures that the report's statement takes from its lines.
    """

    statement: str
    figures: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ReportType:
    """One entry of the catalog.

    Attributes:
        version: raised when the same parameters would give other bytes.
        oldest_version: from this one on, some reports have the same bytes as those of the newest version.
        parameters: the schema of the options that only this report has.
        complete: fills in what the ledger's window decides.
        columns: the header of the file.
        statement: the SELECT of one row: currency, exponent, `lines`, the text of the file without its header, and
            figures, integers that are computed apart from the text.
        arguments: the statement's parameters from $4 on.
        totals: the figures that the result shows, in minor units.
        checks: the invariants; `rows`, the number of lines in the file, is among the figures.
        balance_column: a money column whose last value in the file is the figure `last_balance`.
        listing: how the lines are streamed where `lines` is NULL, since there are too many.
        compared_totals: the totals that have others beside them, which are the figures with the prefix `compare_`.
        variants: how the report is made where it is asked for with an option, by the name of the option.
    """

    name: str
    version: int = 2
    oldest_version: int = 1
    title: str
    parameters: type[Schema]
    complete: Callable[[dict[str, Any], Ledger], dict[str, Any]]
    columns: Callable[[Parameters], tuple[str, ...]]
    statement: str
    arguments: Callable[[Parameters], tuple[Any, ...]]
    totals: tuple[str, ...]
    checks: tuple[Check, ...]
    balance_column: int | None = None
    listing: Listing | None = None
    compared_totals: tuple[str, ...] = ()
    variants: Mapping[str, "ReportType"] = field(default_factory=dict, compare=False)


def with_comparison(
    plain: ReportType,
    statement: str,
    arguments: Callable[[Parameters], tuple[Any, ...]],
    checks: Iterable[Check],
) -> ReportType:
    """A report that can be compared: with an amount and a difference beside each one of its own."""
    compared = replace(
        plain,
        columns=lambda parameters: (*plain.columns(parameters), *COMPARED_COLUMNS),
        statement=statement,
        arguments=arguments,
        compared_totals=plain.totals,
        checks=(*plain.checks, *map(of_compared, checks)),
    )
    return replace(plain, variants={"compare": compared})


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
        raise ValidationError({name: [f"The interval [{first}, {after}) is empty: to must be after from."]})
    completed = {**parameters, "from": first, "to": after}
    if "compare" in completed:
        compared_days(completed)
    return completed


def compared_interval(parameters: Parameters) -> tuple[date, date]:
    """The days `from` and `to` that a report is compared with."""
    return interval(compared_days(parameters))


def compared_arguments(parameters: Parameters) -> tuple[date, date, date, date]:
    """The days `from` and `to`, and those that they are compared with."""
    return *interval(parameters), *compared_interval(parameters)


def interval(parameters: Parameters) -> tuple[date, date]:
    """The days `from` and `to`; asyncpg sends the calendar's last day as infinity, which includes that day."""
    return date.fromisoformat(parameters["from"]), date.fromisoformat(parameters["to"])
