"""The days of a report, in words and as intervals."""

from collections.abc import Mapping
from datetime import date, timedelta
from typing import Any, Final

DAY: Final = timedelta(days=1)
FIRST: Final = date.min.isoformat()


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
