"""When a failed delivery is attempted again."""

import math
import re
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Final

LONGEST_HINT: Final = 2.0**31
"""Seconds; a larger Retry-After counts as this one (RFC 9111 section 1.2.2 does so with delta-seconds)."""

_MONTHS: Final = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
_MONTH = f"(?P<month>{'|'.join(_MONTHS)})"
_TIME = r"(?P<hour>[0-9]{2}):(?P<minute>[0-9]{2}):(?P<second>[0-9]{2})"
_DAY = "(?:Mon|Tue|Wed|Thu|Fri|Sat|Sun)"
_LONG_DAY = "(?:Mon|Tues|Wednes|Thurs|Fri|Satur|Sun)day"
# IMF-fixdate, then the two obsolete forms that a recipient must still read (RFC 9110 section 5.6.7).
_DATES = (
    re.compile(rf"{_DAY}, (?P<day>[0-9]{{2}}) {_MONTH} (?P<year>[0-9]{{4}}) {_TIME} GMT"),
    re.compile(rf"{_LONG_DAY}, (?P<day>[0-9]{{2}})-{_MONTH}-(?P<year>[0-9]{{2}}) {_TIME} GMT"),
    re.compile(rf"{_DAY} {_MONTH} (?P<day>[0-9 ][0-9]) {_TIME} (?P<year>[0-9]{{4}})"),
)


def wait_after(
    attempt: int,
    waits: Sequence[float],
    *,
    retry_after: float | None = None,
    cap: float = 3600,
    jitter: float = 0,
    random: float = 0.5,
) -> float:
    """Seconds to wait after failed attempt `attempt` (1, 2, …) before the next one.

    `waits` are seconds; attempts beyond the list repeat its last entry. `jitter` is a share: `random` in 0…1
    picks a point evenly between wait * (1 - jitter) and wait * (1 + jitter). `retry_after` is the receiver's
    hint in seconds (None: no hint): it lengthens the wait up to `cap`, and never shortens it.

    Raises ValueError for an attempt below 1, no waits, a wait that is negative or not finite, and `jitter` or
    `random` outside 0…1.
    """
    if attempt < 1:
        raise ValueError("attempts count from 1")
    if not waits:
        raise ValueError("there are no waits")
    wait = waits[min(attempt, len(waits)) - 1]
    if not (math.isfinite(wait) and wait >= 0):
        raise ValueError(f"a wait is a finite number of seconds, at least 0, not {wait}")
    if not (0 <= jitter <= 1 and 0 <= random <= 1):
        raise ValueError("jitter and random lie in 0…1")
    wait *= 1 + jitter * (2 * random - 1)
    if retry_after is None or math.isnan(retry_after):
        return wait
    return max(wait, min(retry_after, cap))


def parse_retry_after(value: str, now: datetime) -> float | None:
    """Reads a Retry-After header into seconds from `now`, 0 … `LONGEST_HINT`; None when it says nothing.

    Accepts delay-seconds and the three forms of HTTP-date (RFC 9110 sections 10.2.3 and 5.6.7); a date in the
    past is 0. Never raises for any `value`; `now` must be aware, else ValueError.
    """
    if now.tzinfo is None:
        raise ValueError("now must be aware")
    text = value.strip(" \t")
    if re.fullmatch("[0-9]+", text):
        return min(float(text), LONGEST_HINT)
    date = _http_date(text, now.astimezone(UTC))
    if date is None:
        return None
    return min(max((date - now).total_seconds(), 0.0), LONGEST_HINT)


def _http_date(text: str, now: datetime) -> datetime | None:
    match = next(filter(None, (form.fullmatch(text) for form in _DATES)), None)
    if match is None:
        return None
    year = int(match["year"])
    if len(match["year"]) == 2:
        # RFC 9110: what looks more than 50 years ahead is the most recent past year with these digits.
        year = now.year - 49 + (year - now.year + 49) % 100
    try:
        return datetime(
            year,
            _MONTHS.index(match["month"]) + 1,
            int(match["day"]),
            int(match["hour"]),
            int(match["minute"]),
            59 if match["second"] == "60" else int(match["second"]),
            tzinfo=UTC,
        )
    except ValueError:
        return None
