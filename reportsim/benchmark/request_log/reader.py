"""Reads a log of any length in bounded memory: a sample of its durations, and how many requests a second it has."""

from array import array
from collections import Counter
from dataclasses import dataclass, field
from random import Random
from typing import BinaryIO, Final

from reportsim.benchmark.request_log.errors import LineError, LogError
from reportsim.benchmark.request_log.formats import Entry, LogFormat, detect_format
from reportsim.benchmark.request_log.units import Unit
from reportsim.core.observed_service_time import ObservedServiceTime

LONGEST_LINE: Final = 64 * 1024
FEWEST: Final = 20
MOST_KEPT: Final = 100_000
MINUTE_S: Final = 60
MOST_MINUTES: Final = 100_000
# Timestamps are often whole seconds, so that a shorter log says little of its rate.
SHORTEST_SPAN_S: Final = 10.0


@dataclass(frozen=True, slots=True)
class Rate:
    """How many requests a second a log has."""

    mean: float
    busiest: float
    """In its busiest minute."""


@dataclass(frozen=True, slots=True)
class RequestLog:
    """What a log says of an endpoint."""

    format: str
    count: int
    durations: ObservedServiceTime
    """Of all requests, or of a random sample of them."""
    rate: Rate | None
    """None where the log has no times, or all within a few seconds."""


@dataclass(slots=True)
class Reservoir:
    """A uniform random sample of a stream (J. S. Vitter's algorithm R)."""

    source: Random
    size: int
    kept: "array[float]" = field(default_factory=lambda: array("d"))
    seen: int = 0

    def add(self, value: float) -> None:
        """Takes the next value of the stream."""
        self.seen += 1
        if len(self.kept) < self.size:
            self.kept.append(value)
        elif (place := int(self.source.random() * self.seen)) < self.size:
            self.kept[place] = value


@dataclass(slots=True)
class RateCounter:
    """Counts requests by the minute, in any order."""

    minutes: Counter[int] = field(default_factory=Counter)
    first: float = float("inf")
    last: float = float("-inf")

    def add(self, at: float) -> None:
        """Takes the moment of a request.

        Raises:
            LineError: The requests are spread over too many minutes.
        """
        self.minutes[int(at // MINUTE_S)] += 1
        if len(self.minutes) > MOST_MINUTES:
            raise LineError(f"the requests are in more than {MOST_MINUTES:,} minutes: give a shorter log")
        self.first, self.last = min(self.first, at), max(self.last, at)

    def rate(self) -> Rate | None:
        """The rate so far, if the log is long enough."""
        span = self.last - self.first
        if not span >= SHORTEST_SPAN_S:
            return None
        mean = self.minutes.total() / span
        return Rate(mean, max(mean, max(self.minutes.values()) / MINUTE_S))


def read_log(
    file: BinaryIO, *, unit: Unit | None = None, name: str | None = None, seed: int = 1, most_kept: int = MOST_KEPT
) -> RequestLog:
    """Reads a log whose durations are in `unit`, and in the column or field `name`, where these are given.

    Raises:
        LogError: A line is not what was expected, or there are too few.
    """
    reservoir, counter = Reservoir(Random(f"{seed}/request log"), most_kept), RateCounter()
    found: LogFormat | None = None
    number = 0
    while raw := file.readline(LONGEST_LINE + 1):
        number += 1
        if len(raw) > LONGEST_LINE:
            raise LogError(f"the line is longer than {LONGEST_LINE:,} bytes", number)
        line = raw.decode("utf-8-sig" if number == 1 else "utf-8", "replace").strip()
        try:
            if line and found is None:
                found, is_request = detect_format(line, unit, name)
                if not is_request:
                    continue
            if line and found is not None:
                record(found.parse(line), reservoir, counter)
        except LineError as error:
            raise LogError(str(error), number) from None
    if found is None or reservoir.seen < FEWEST:
        raise LogError(f"{reservoir.seen} durations: at least {FEWEST} are needed")
    durations = ObservedServiceTime(array("d", sorted(reservoir.kept)))
    if not durations.mean_s:
        raise LogError("all durations are 0")
    return RequestLog(found.name, reservoir.seen, durations, counter.rate())


def record(entry: Entry, reservoir: Reservoir, counter: RateCounter) -> None:
    """Counts a request."""
    reservoir.add(entry.duration_s)
    if entry.at is not None:
        counter.add(entry.at)
