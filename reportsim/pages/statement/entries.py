"""From a figure of a statement to its entries: a general ledger of its account and its days."""

from collections.abc import Mapping
from typing import Any, Final
from urllib.parse import parse_qsl

from marshmallow import ValidationError, fields, validate

from reportsim.core.problems import Problem
from reportsim.pages.statement.periods import FIRST, day_after, first_day, period_number, period_unit
from reportsim.reports.comparison import compared_days
from reportsim.reports.fields import IsoDate, Text
from reportsim.reports.report_type import COMPARED
from reportsim.schemas.strict import Strict

Json = dict[str, Any]

MOST_PARTS: Final = 4
COLUMN: Final = r"(compare_)?(amount|(opening|period|closing)_(debit|credit))\Z"


class Figure(Strict):
    """What names a figure: its column, its account or what stands for some, and its period where there are several."""

    column = fields.String(required=True, validate=validate.Regexp(COLUMN))
    account = Text(validate=validate.Length(1))
    sum = fields.String()
    earnings = fields.String(validate=validate.OneOf(["prior", "current"]))
    period_start = IsoDate()


def parse_source(source: str) -> Json:
    """The parts of what names a figure.

    Raises:
        Problem: 404 where nothing has this name.
    """
    try:
        parts: Json = Figure().load(dict(parse_qsl(source, strict_parsing=True, max_num_fields=MOST_PARTS)))
    except (ValueError, ValidationError):
        raise no_entries() from None
    return parts


def no_entries() -> Problem:
    """The problem of a figure that a statement does not have."""
    return Problem("not-found", "The statement has no such figure.")


def entries_body(parameters: Mapping[str, Any], figure: Mapping[str, Any], codes: list[str]) -> Json:
    """The submission that shows what a figure consists of: entries, or for earnings an income statement."""
    ledger, column = {"ledger": parameters["ledger"]}, figure["column"]
    is_cash_flow = parameters["report_type"] == "cash_flow"
    if "compare" in parameters and column.startswith(COMPARED):
        parameters, column = compared_days(parameters), column.removeprefix(COMPARED)
    if not codes:
        return {"report_type": "income_statement", **ledger, **earnings_interval(parameters, figure["earnings"])}
    days = interval_of(parameters, column, figure.get("period_start"))
    cash = {"cash_only": True} if is_cash_flow else {}
    return {"report_type": "general_ledger", **ledger, **days, "account_codes": codes, **cash}


def interval_of(parameters: Mapping[str, Any], column: str, start: str | None) -> Json:
    """The days of the entries of a figure in a column, and in the period that starts on a day."""
    if "as_of" in parameters:
        return {"from": FIRST, "to": day_after(parameters["as_of"])}
    first, after = parameters["from"], parameters["to"]
    match column.partition("_")[0]:
        case "opening":
            return {"from": FIRST, "to": first}
        case "closing":
            return {"from": FIRST, "to": after}
    if start is not None and (unit := period_unit(parameters)) is not None:
        return {"from": start, "to": min(first_day(period_number(start, unit) + 1, unit), after)}
    return {"from": first, "to": after}


def earnings_interval(parameters: Mapping[str, Any], kind: str) -> Json:
    """The days in which earnings of a balance sheet were made: before its year, or in it."""
    year = f"{parameters['as_of'][:4]}-01-01"
    return {"from": FIRST, "to": year} if kind == "prior" else {"from": year, "to": day_after(parameters["as_of"])}
