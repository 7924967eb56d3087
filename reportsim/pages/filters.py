"""How values read on pages."""

import json
import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from markupsafe import Markup

from reportsim.core.model import CallbackLog, Request, rfc3339
from reportsim.core.number_format import three
from reportsim.reports.catalog import CATALOG

FIGURE: Final = re.compile(r"-?[0-9]{1,18}(\.[0-9]{1,4})?", re.ASCII)
# Figures of a result that count things; all others are money in minor units.
COUNTS: Final = frozenset({"accounts", "rows", "entries", "transactions"})


def moment(value: datetime | None, *, precise: bool = False, day: bool = True) -> Markup:
    """A moment in UTC, to the second or the millisecond, with or without its day; a dash for none."""
    if value is None:
        return Markup("–")
    at = value.astimezone(UTC)
    text = at.isoformat(sep=" ", timespec="milliseconds" if precise else "seconds").removesuffix("+00:00")
    text = text if day else text.partition(" ")[2]
    return Markup('<time datetime="{}">{}</time>').format(rfc3339(value), text)


def after(value: datetime, milliseconds: float) -> datetime:
    """A moment some milliseconds later."""
    return value + timedelta(milliseconds=milliseconds)


def pause(log: CallbackLog) -> str:
    """The wait between an attempt's end and the next one."""
    if log.next_attempt_at is None:
        return "–"
    return duration((log.next_attempt_at - after(log.attempted_at, log.response_time_ms)).total_seconds() * 1000)


def duration(milliseconds: float) -> str:
    """A duration with three digits and a unit that fits."""
    if milliseconds < 999.5:
        return f"{milliseconds:.3g} ms"
    seconds = milliseconds / 1000
    if seconds < 99.95:
        return f"{seconds:.3g} s"
    return f"{int(seconds // 60):,} min {int(seconds % 60)} s"


def slot_taken_at(row: Request) -> datetime | None:
    """When a worker slot was taken for a request; its work begins when the claim has come back from the database."""
    if row.result_payload is None or row.started_at is None:
        return row.started_at
    return row.created_at + timedelta(milliseconds=row.result_payload["timings_ms"]["queue"])


def took(row: Request) -> str:
    """How long a request took, from acceptance to its end."""
    if row.completed_at is None:
        return "–"
    return duration((row.completed_at - row.created_at).total_seconds() * 1000)


def money(minor: int, exponent: int) -> str:
    """Minor units as an amount in major units."""
    whole, part = divmod(abs(minor), 10**exponent)
    sign = "−" if minor < 0 else ""
    return f"{sign}{whole:,}" + (f".{part:0{exponent}}" if exponent else "")


def size(count: int) -> str:
    """A number of bytes with a unit that fits."""
    value = float(count)
    for unit in ("B", "kB", "MB"):
        if value < 999.5:
            return f"{value:.3g} {unit}"
        value /= 1000
    return f"{value:,.3g} GB"


def is_figure(cell: str) -> bool:
    """Whether a cell of a CSV file is an amount or a count."""
    return FIGURE.fullmatch(cell) is not None


def words(name: str) -> str:
    """A name of the API as words."""
    return name.replace("_", " ")


def titled(report_type: str) -> str:
    """The title of a report type."""
    report = CATALOG.get(report_type)
    return report.title if report else words(report_type)


def pretty(value: Any) -> str:
    """JSON for people."""
    return json.dumps(value, indent=2, ensure_ascii=False)


FORMATS: Final[dict[str, Callable[..., Any]]] = {
    "after": after,
    "duration": duration,
    "is_figure": is_figure,
    "moment": moment,
    "money": money,
    "pause": pause,
    "pretty": pretty,
    "size": size,
    "slot_taken_at": slot_taken_at,
    "three": three,
    "titled": titled,
    "took": took,
    "words": words,
}
