"""The days of a report, in words and as intervals."""

from collections.abc import Mapping
from datetime import date, timedelta
from typing import Any, Final

DAY: Final = timedelta(days=1)
FIRST: Final = date.min.isoformat()
MONTHS: Final = {"month": 1, "quarter": 3}


def describe_period(parameters: Mapping[str, Any]) -> str:
    """The days that a report is about, both of them included."""
    if "as_of" in parameters:
        return f"as of {parameters['as_of']}"
    return describe_interval(parameters["from"], parameters["to"])


def describe_comparison(parameters: Mapping[str, Any], result: Mapping[str, Any]) -> str:
    """The days of a report, with those that it is compared with."""
    if (comparison := result.get("comparison")) is None:
        return describe_period(parameters)
    return f"{describe_period(parameters)}, compared with {describe_column(comparison)}"


def describe_interval(first: str, after: str) -> str:
    """The days of an interval; one that begins with the calendar is of all days until its end."""
    last = last_day(after)
    return f"until {last}" if first == FIRST else f"{first} to {last}"


def last_day(after: str) -> str:
    """The last day of an interval that ends before a day; none follows the calendar's last one, which is included."""
    day = date.fromisoformat(after)
    return str(day if day == date.max else day - DAY)


def day_after(day: str) -> str:
    """Where an interval ends that includes a day."""
    last = date.fromisoformat(day)
    return str(last if last == date.max else last + DAY)


def describe_column(parameters: Mapping[str, Any]) -> str:
    """The same as the head of a column."""
    return describe_period(parameters).removeprefix("as of ")


def period_unit(parameters: Mapping[str, Any]) -> str | None:
    """Whether a report is by month or by quarter, or by neither."""
    unit = parameters.get("group_by")
    return unit if unit in MONTHS else None


def period_number(day: str, unit: str) -> int:
    """The number of the month or quarter of a day; the next one has the next number."""
    found = date.fromisoformat(day)
    return (found.year * 12 + found.month - 1) // MONTHS[unit]


def first_day(number: int, unit: str) -> str:
    """The first day of a month or quarter; beyond the calendar its last day, which ends intervals and is included."""
    year, month = divmod(number * MONTHS[unit], 12)
    return str(date.max if year > date.max.year else date(year, month + 1, 1))


def describe_part(first: str, after: str, unit: str) -> str:
    """A month or quarter by its name; the days of a part of one."""
    number = period_number(first, unit)
    if (first, after) != (first_day(number, unit), first_day(number + 1, unit)):
        return describe_interval(first, after)
    return first[:7] if unit == "month" else f"{first[:4]} Q{number % 4 + 1}"
