"""The timeline of one request: its time in the queue, its service, its callback attempts and the waits between them."""

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from reportsim.core.model import CallbackLog, CallbackStatus, Request, Status
from reportsim.pages.filters import duration, slot_taken_at

MOST_TICKS: Final = 6


@dataclass(frozen=True, slots=True)
class Span:
    """A bar on the time axis: its start and width in percent of the axis."""

    kind: str
    start: float
    width: float
    text: str
    open: bool = False
    """Whether it has not ended."""


@dataclass(frozen=True, slots=True)
class Axis:
    """A time axis that starts at 0."""

    length_ms: float

    def percent(self, milliseconds: float) -> float:
        """A time in percent of the axis."""
        return round(100 * milliseconds / self.length_ms, 3)

    def span(self, kind: str, start_ms: float, end_ms: float, text: str, *, open: bool = False) -> Span:
        """A bar between two times."""
        start = self.percent(start_ms)
        return Span(kind, start, max(self.percent(end_ms) - start, 0.0), text, open)

    @property
    def ticks(self) -> list[tuple[float, str]]:
        """Round times and their labels, the last one well before the end."""
        step = round_step(self.length_ms / MOST_TICKS)
        count = int(self.length_ms * 0.95 / step)
        return [(self.percent(number * step), duration(number * step)) for number in range(1, count + 1)]


def round_step(least: float) -> float:
    """The smallest of 1, 2 and 5 times a power of ten that is not below a bound."""
    power: float = 10 ** math.floor(math.log10(max(least, 1e-3)))
    return next(factor * power for factor in (1, 2, 5, 10) if factor * power >= least * (1 - 1e-9))


@dataclass(frozen=True, slots=True)
class Timeline:
    """What happened to a request, as bars and in words."""

    axis: Axis
    spans: Sequence[Span]
    description: str


def draw_timeline(row: Request, logs: Iterable[CallbackLog], now: datetime) -> Timeline:
    """The timeline up to now, or to the end of the first series of callback attempts."""
    series = [log for log in logs if log.series == 1]
    end = end_of_axis(row, series, now)
    axis = Axis(max(milliseconds(row.created_at, end), 1.0))
    spans = [*service_spans(axis, row, end), *callback_spans(axis, row, series)]
    return Timeline(axis, spans, "; ".join(span.text for span in spans))


def milliseconds(start: datetime, end: datetime) -> float:
    """The milliseconds between two times."""
    return (end - start).total_seconds() * 1000


def end_of_axis(row: Request, series: Sequence[CallbackLog], now: datetime) -> datetime:
    """When the axis ends."""
    if not row.ended:
        return now
    assert row.completed_at is not None
    ends = [row.completed_at, *(log.attempted_at + timedelta(milliseconds=log.response_time_ms) for log in series)]
    if row.callback_status is CallbackStatus.PENDING and row.callback_series == 1 and series:
        ends.append(series[-1].next_attempt_at or now)
    return max(ends)


def service_spans(axis: Axis, row: Request, end: datetime) -> Iterator[Span]:
    """The time in the queue and with the worker."""
    started = slot_taken_at(row) or row.completed_at or end
    waited, served = milliseconds(row.created_at, started), milliseconds(started, row.completed_at or end)
    has_started = row.started_at is not None
    yield axis.span("queue", 0, waited, f"in the queue for {duration(waited)}", open=not has_started and not row.ended)
    if has_started:
        failed = row.status is Status.FAILED
        text = f"failed after {duration(served)}" if failed else f"with the worker for {duration(served)}"
        yield axis.span("wasted" if failed else "work", waited, waited + served, text, open=not row.ended)


def callback_spans(axis: Axis, row: Request, series: Sequence[CallbackLog]) -> Iterator[Span]:
    """The callback attempts and the waits between them."""
    for log in series:
        start = milliseconds(row.created_at, log.attempted_at)
        end = start + log.response_time_ms
        outcome = "delivered" if log.success else f"failed ({log.status_code or log.reason})"
        kind = "call" if log.success else "miss"
        yield axis.span(
            kind, start, end, f"attempt {log.attempt_number} {outcome} after {duration(log.response_time_ms)}"
        )
        if log.next_attempt_at is not None:
            wait = milliseconds(row.created_at, log.next_attempt_at) - end
            yield axis.span("pause", end, end + wait, f"retry after {duration(wait)}")
