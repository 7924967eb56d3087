"""Template filters: how values are shown on pages."""

import json
import math
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from markupsafe import Markup

from reportsim.core import number_format
from reportsim.core.model import CallbackLog, Request, rfc3339
from reportsim.pages.statement.general_ledger import describe_selection
from reportsim.pages.statement.periods import describe_period
from reportsim.reports.catalog import CATALOG

# The totals of a result that are counts; all others are amounts in minor units.
COUNTS: Final = frozenset({"accounts", "rows", "entries", "transactions"})
MINUTES_FROM_S: Final = 99.95


def timestamp(value: datetime | None, *, precise: bool = False, day: bool = True) -> Markup:
    """A time in UTC, to the second or the millisecond, with or without the date; a dash for None."""
    if value is None:
        return Markup("–")
    at = value.astimezone(UTC)
    text = at.isoformat(sep=" ", timespec="milliseconds" if precise else "seconds").removesuffix("+00:00")
    text = text if day else text.partition(" ")[2]
    return Markup('<time datetime="{}">{}</time>').format(rfc3339(value), text)


def add_ms(value: datetime, milliseconds: float) -> datetime:
    """A time some milliseconds later."""
    return value + timedelta(milliseconds=milliseconds)


def retry_delay(log: CallbackLog) -> str:
    """The wait between the end of an attempt and the next one."""
    if log.next_attempt_at is None:
        return "–"
    return duration((log.next_attempt_at - add_ms(log.attempted_at, log.response_time_ms)).total_seconds() * 1000)


def duration(milliseconds: float) -> str:
    """A duration with three digits and a unit that fits; from 100 s on in minutes."""
    seconds = milliseconds / 1000
    if seconds < MINUTES_FROM_S or math.isinf(seconds):
        return number_format.duration(seconds)
    minutes, rest = divmod(int(seconds), 60)
    return f"{minutes:,} min {rest} s"


def slot_taken_at(row: Request) -> datetime | None:
    """When a worker slot was taken for a request, which is before the claim returned from the database."""
    if row.result_payload is None or row.started_at is None:
        return row.started_at
    return row.created_at + timedelta(milliseconds=row.result_payload["timings_ms"]["queue"])


def elapsed(row: Request) -> str:
    """The time from the acceptance of a request to its end."""
    if row.completed_at is None:
        return "–"
    return duration((row.completed_at - row.created_at).total_seconds() * 1000)


def money(minor: int, exponent: int) -> str:
    """Minor units as an amount in major units."""
    whole, part = divmod(abs(minor), 10**exponent)
    sign = "−" if minor < 0 else ""
    return f"{sign}{whole:,}" + (f".{part:0{exponent}}" if exponent else "")


def accounting(minor: int, exponent: int) -> str:
    """Minor units as accountants write amounts: in parentheses below zero, and a dash for nothing."""
    if not minor:
        return "–"
    text = money(abs(minor), exponent)
    return f"({text})" if minor < 0 else text


def size(count: int) -> str:
    """A number of bytes with a unit that fits."""
    value = float(count)
    for unit in ("B", "kB", "MB"):
        if value < 999.5:
            return f"{value:.3g} {unit}"
        value /= 1000
    return f"{value:,.3g} GB"


def humanize(name: str) -> str:
    """A name from the API with spaces."""
    return name.replace("_", " ")


def report_title(report_type: str) -> str:
    """The title of a report type."""
    report = CATALOG.get(report_type)
    return report.title if report else humanize(report_type)


def describe_report(parameters: Mapping[str, Any]) -> str:
    """The days of a report, and the entries that it is limited to."""
    days = describe_period(parameters) if parameters.keys() & {"as_of", "to"} else ""
    return ", ".join(filter(None, [days, describe_selection(parameters).removesuffix(" only")]))


def as_json(value: Any) -> str:
    """A value as indented JSON."""
    return json.dumps(value, indent=2, ensure_ascii=False)


FILTERS: Final[dict[str, Callable[..., Any]]] = {
    "accounting": accounting,
    "add_ms": add_ms,
    "as_json": as_json,
    "describe_report": describe_report,
    "duration": duration,
    "elapsed": elapsed,
    "humanize": humanize,
    "money": money,
    "percent": number_format.percent,
    "report_title": report_title,
    "retry_delay": retry_delay,
    "size": size,
    "slot_taken_at": slot_taken_at,
    "three": number_format.three,
    "timestamp": timestamp,
}
