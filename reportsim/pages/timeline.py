"""The course of one request on a time axis: its queue, its work, the attempts of its callback and the waits between."""

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
    """A stretch of time: start and width in percent of the axis."""

    kind: str
    start: float
    width: float
    text: str
    open: bool = False
    """Whether it goes on."""


@dataclass(frozen=True, slots=True)
class Axis:
    """A time axis from 0 to some milliseconds."""

    longest_ms: float

    def percent(self, milliseconds: float) -> float:
        """A moment as percent of the axis."""
        return round(100 * milliseconds / self.longest_ms, 3)

    def span(self, kind: str, start_ms: float, end_ms: float, text: str, *, open: bool = False) -> Span:
        """A stretch of time."""
        start = self.percent(start_ms)
        return Span(kind, start, max(self.percent(end_ms) - start, 0.0), text, open)

    @property
    def ticks(self) -> list[tuple[float, str]]:
        """Round moments with their words, the last one well before the end."""
        step = round_step(self.longest_ms / MOST_TICKS)
        count = int(self.longest_ms * 0.95 / step)
        return [(self.percent(number * step), duration(number * step)) for number in range(1, count + 1)]


def round_step(least: float) -> float:
    """The smallest of 1, 2 and 5 times a power of ten that is at least so much."""
    power: float = 10 ** math.floor(math.log10(max(least, 1e-3)))
    return next(factor * power for factor in (1, 2, 5, 10) if factor * power >= least * (1 - 1e-9))


@dataclass(frozen=True, slots=True)
class Course:
    """What happened to a request, for eyes and in words."""

    axis: Axis
    spans: Sequence[Span]
    words: str


def course(row: Request, logs: Iterable[CallbackLog], now: datetime) -> Course:
    """The course up to now, or to the end of the first series of callbacks."""
    series = [log for log in logs if log.series == 1]
    end = last_moment(row, series, now)
    axis = Axis(max(milliseconds(row.created_at, end), 1.0))
    spans = [*work(axis, row, end), *attempts(axis, row, series)]
    return Course(axis, spans, "; ".join(span.text for span in spans))


def milliseconds(start: datetime, end: datetime) -> float:
    """The time between two moments."""
    return (end - start).total_seconds() * 1000


def last_moment(row: Request, series: Sequence[CallbackLog], now: datetime) -> datetime:
    """The moment at which the axis ends."""
    if not row.ended:
        return now
    assert row.completed_at is not None
    ends = [row.completed_at, *(log.attempted_at + timedelta(milliseconds=log.response_time_ms) for log in series)]
    if row.callback_status is CallbackStatus.PENDING and row.callback_series == 1 and series:
        ends.append(series[-1].next_attempt_at or now)
    return max(ends)


def work(axis: Axis, row: Request, end: datetime) -> Iterator[Span]:
    """The queue and the work."""
    started = slot_taken_at(row) or row.completed_at or end
    waited, served = milliseconds(row.created_at, started), milliseconds(started, row.completed_at or end)
    begun = row.started_at is not None
    yield axis.span("queue", 0, waited, f"in the queue for {duration(waited)}", open=not begun and not row.ended)
    if begun:
        failed = row.status is Status.FAILED
        text = f"{'failed after' if failed else 'with the worker for'} {duration(served)}"
        yield axis.span("vain" if failed else "work", waited, waited + served, text, open=not row.ended)


def attempts(axis: Axis, row: Request, series: Sequence[CallbackLog]) -> Iterator[Span]:
    """The attempts and the waits after those that failed."""
    for log in series:
        start = milliseconds(row.created_at, log.attempted_at)
        end = start + log.response_time_ms
        said = "delivered" if log.success else f"failed ({log.status_code or log.reason})"
        kind = "call" if log.success else "miss"
        yield axis.span(kind, start, end, f"attempt {log.attempt_number} {said} after {duration(log.response_time_ms)}")
        if log.next_attempt_at is not None:
            wait = milliseconds(row.created_at, log.next_attempt_at) - end
            yield axis.span("pause", end, end + wait, f"a wait of {duration(wait)}")
