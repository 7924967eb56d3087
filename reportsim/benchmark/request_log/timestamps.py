"""Moments as logs write them, in seconds since 1970."""

import math
import re
from datetime import UTC, datetime, timedelta, timezone
from types import MappingProxyType
from typing import Final

from reportsim.benchmark.request_log.errors import LineError, excerpt

# The format of access logs: 10/Oct/2025:13:55:36 +0200
LOCAL: Final = re.compile(r"(\d\d)/([A-Z][a-z]{2})/(\d{4}):(\d\d):(\d\d):(\d\d) ([+-])(\d\d)(\d\d)", re.ASCII)
MONTHS: Final = MappingProxyType(
    {
        "Jan": 1,
        "Feb": 2,
        "Mar": 3,
        "Apr": 4,
        "May": 5,
        "Jun": 6,
        "Jul": 7,
        "Aug": 8,
        "Sep": 9,
        "Oct": 10,
        "Nov": 11,
        "Dec": 12,
    }
)
# From these sizes on, a number counts nanoseconds, microseconds or milliseconds: as seconds it would be after 5000.
PER_SECOND: Final = ((1e17, 1e9), (1e14, 1e6), (1e11, 1e3))
EXPECTED: Final = "expected a time in ISO 8601 or seconds since 1970"


def parse_timestamp(text: str) -> float:
    """The moment of a text in ISO 8601, in the format of access logs, or of a number since 1970.

    Raises:
        LineError: It is none of them.
    """
    text = text.strip().strip("[]")
    if match := LOCAL.fullmatch(text):
        return parse_local(match)
    try:
        return from_number(float(text))
    except ValueError:
        pass
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise LineError(f"{EXPECTED}, found {excerpt(text)}") from None
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()


def parse_local(match: "re.Match[str]") -> float:
    """The moment of a match that begins with the groups of LOCAL.

    Raises:
        LineError: There is no such moment.
    """
    day, month, year, hour, minute, second, sign, hours, minutes = match.groups()[:9]
    try:
        offset = timedelta(hours=int(hours), minutes=int(minutes)) * (-1 if sign == "-" else 1)
        numbers = (int(year), MONTHS[month], int(day), int(hour), int(minute), int(second))
        return datetime(*numbers, tzinfo=timezone(offset)).timestamp()
    except (KeyError, ValueError):
        raise LineError(
            f"there is no time {day}/{month}/{year}:{hour}:{minute}:{second} {sign}{hours}{minutes}"
        ) from None


def from_number(number: float) -> float:
    """The moment of a number of seconds, milliseconds, microseconds or nanoseconds since 1970.

    Raises:
        LineError: It cannot be a moment.
    """
    if not (math.isfinite(number) and 0 <= number < 1e19):
        raise LineError(f"{EXPECTED}, found {number:g}")
    return number / next((per_second for size, per_second in PER_SECOND if number >= size), 1.0)
