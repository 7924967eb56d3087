"""How values read on pages."""

import json
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, Final

from markupsafe import Markup

from reportsim.core.model import Request, rfc3339
from reportsim.reports.catalog import CATALOG

# Figures of a result that count things; all others are money in minor units.
COUNTS: Final = frozenset({"accounts", "rows", "entries", "transactions"})


def moment(value: datetime | None, *, precise: bool = False) -> Markup:
    """A moment in UTC, to the second or the millisecond; a dash for none."""
    if value is None:
        return Markup("–")
    at = value.astimezone(UTC)
    text = at.isoformat(sep=" ", timespec="milliseconds" if precise else "seconds").removesuffix("+00:00")
    return Markup('<time datetime="{}">{}</time>').format(rfc3339(value), text)


def duration(milliseconds: float) -> str:
    """A duration with three digits and a unit that fits."""
    if milliseconds < 999.5:
        return f"{milliseconds:.3g} ms"
    seconds = milliseconds / 1000
    if seconds < 99.95:
        return f"{seconds:.3g} s"
    return f"{int(seconds // 60):,} min {int(seconds % 60)} s"


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


FORMATS: Final[dict[str, Callable[..., str]]] = {
    "duration": duration,
    "moment": moment,
    "money": money,
    "pretty": pretty,
    "size": size,
    "titled": titled,
    "took": took,
    "words": words,
}
