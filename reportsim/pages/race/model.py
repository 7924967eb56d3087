"""A race: two sides with the same requests, and the bars that are drawn of them."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Final, NamedTuple

from reportsim.benchmark.pulled_plug import PulledPlug
from reportsim.benchmark.results.verdict import SideOutcome, describe_plug, describe_race
from reportsim.core.model import Mode
from reportsim.pages.filters import duration
from reportsim.pages.timeline import Axis, Span

# The axis is a little longer than the race, so that the last bar does not touch the edge.
MARGIN: Final = 1.06
NONE: Final = math.nan
"""The time of an event that has not happened."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    """One callback attempt: its start and end in milliseconds from the start of the race."""

    start: float
    end: float
    delivered: bool


class RequestEnd(NamedTuple):
    """When a request ended for its client, and whether the client left without the result."""

    time: float
    gave_up: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class RaceRequest:
    """One request of one side: the times of its events in milliseconds from the start of the race."""

    number: int
    mode: Mode
    disconnected: float = NONE
    """When the client's connection ended."""
    queued: float = 0.0
    started: float = NONE
    ended: float = NONE
    result: float = NONE
    """When the client had the result."""
    attempts: Sequence[Attempt] = ()
    gave_up: bool = False

    def spans(self, axis: Axis, now: float) -> list[Span]:
        """The bars of the request; those of phases that have not ended reach until now."""
        drawn: list[Span | None] = [
            self._span(axis, "hold", self.queued, self.disconnected, now, "connected"),
            self._span(axis, "queue", self.queued, self._dequeued, now, "in the queue"),
        ]
        if self.gave_up and self.disconnected < (math.inf if math.isnan(self.ended) else self.ended):
            split = max(self.started, self.disconnected)
            if split > self.started:
                drawn.append(self._span(axis, "work", self.started, split, now, "in service"))
            drawn.append(self._span(axis, "wasted", split, self.ended, now, "in service for a client that timed out"))
        else:
            drawn.append(self._span(axis, "work", self.started, self.ended, now, "in service"))
        return [span for span in drawn if span] + self._callback_spans(axis)

    @property
    def _dequeued(self) -> float:
        return self.ended if math.isnan(self.started) else self.started

    @staticmethod
    def _span(axis: Axis, kind: str, start: float, end: float, now: float, activity: str) -> Span | None:
        if math.isnan(start) or start >= now:
            return None
        open = math.isnan(end) or end > now
        until = now if open else end
        return axis.span(kind, start, until, f"{activity} for {duration(until - start)}", open=open)

    def _callback_spans(self, axis: Axis) -> list[Span]:
        drawn = []
        for before, attempt in zip((None, *self.attempts), self.attempts, strict=False):
            if before is not None:
                drawn.append(axis.span("pause", before.end, attempt.start, "wait before the next attempt"))
            kind = "call" if attempt.delivered else "miss"
            drawn.append(axis.span(kind, attempt.start, attempt.end, "callback"))
        return drawn

    @property
    def result_text(self) -> str:
        """The time to the result, or that the client gave up; empty while neither is known."""
        if self.gave_up:
            return "timed out"
        return "" if math.isnan(self.result) else duration(self.result)

    def end(self, now: float) -> "RequestEnd":
        """When the client had its result or gave up; infinity if neither has happened."""
        if self.gave_up:
            return RequestEnd(self.disconnected if self.disconnected <= now else math.inf, True)
        return RequestEnd(self.result if self.result <= now else math.inf, False)

    def connected_ms(self, now: float) -> float:
        """How long the client was connected, up to now."""
        if math.isnan(self.queued):
            return 0.0
        return max(min(now if math.isnan(self.disconnected) else self.disconnected, now) - self.queued, 0.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class RaceSide:
    """One side of the race: the same requests by one delivery method."""

    mode: Mode
    requests: Sequence[RaceRequest]
    now: float
    """Milliseconds from the start, up to which the side is drawn."""

    @property
    def connected_ms(self) -> float:
        """The time that all clients were connected, in total."""
        return sum(request.connected_ms(self.now) for request in self.requests)

    @property
    def results(self) -> list[float]:
        """The times to the results received so far."""
        return [request.result for request in self.requests if request.result <= self.now]

    @property
    def gave_up(self) -> int:
        """The number of clients that left without a result."""
        return sum(request.gave_up and request.disconnected <= self.now for request in self.requests)

    @property
    def outcome(self) -> SideOutcome:
        """What the side has come to so far."""
        return SideOutcome(
            offered=len(self.requests),
            results=len(self.results),
            gave_up=self.gave_up,
            connected_s=self.connected_ms / 1000,
        )

    @property
    def median_text(self) -> str:
        """The median time to a result over all requests, with ≥ where it falls on clients that gave up.

        Empty while fewer than half of the requests have ended.
        """
        ends = sorted(request.end(self.now) for request in self.requests)
        middle = ends[(len(ends) - 1) // 2 : len(ends) // 2 + 1]
        if not middle or math.isinf(middle[-1].time):
            return ""
        at_least = "≥ " if any(end.gave_up for end in middle) else ""
        return at_least + duration(sum(end.time for end in middle) / len(middle))

    @property
    def description(self) -> str:
        """The side in a sentence."""
        count = len(self.requests)
        parts = [f"{count} {self.mode} requests", f"clients connected for {duration(self.connected_ms)} in total"]
        results = f"{len(self.results)} result{'' if len(self.results) == 1 else 's'}"
        parts.append(results + (f", {self.gave_up} timed out" if self.gave_up else ""))
        if self.median_text:
            parts.append(f"median time to result {self.median_text}")
        return "; ".join(parts)


@dataclass(frozen=True, kw_only=True)
class Race:
    """Both sides on one time axis, predicted or measured."""

    sides: Sequence[RaceSide]
    predicted: bool
    """Whether this is a prediction and nothing has run yet."""
    basis: str | None = None
    """What a prediction assumes of the times that are not simulated."""
    status: str = ""
    id: str | None = None
    at_least_ms: float = 0.0
    failed_checks: Sequence[str] | None = None
    """What forbids to trust the measurement; None while nothing has been checked."""
    busy: bool = False
    """Whether the machine had other work while it was measured."""
    hashes: Mapping[str, Sequence[str]] = field(default_factory=dict)
    """The sha256 of every file of each side so far."""
    error: str | None = None
    """Why the race failed."""
    plug: PulledPlug | None = None
    """Seconds from the start of the race."""

    @property
    def running(self) -> bool:
        """Whether the race has not ended."""
        return self.status in {"PENDING", "RUNNING"}

    @property
    def now(self) -> float:
        """Milliseconds from the start."""
        return max(side.now for side in self.sides)

    @property
    def files(self) -> int:
        """The number of files, 0 until both sides have some."""
        return sum(map(len, self.hashes.values())) if all(self.hashes.get(mode) for mode in Mode) else 0

    @property
    def sha256(self) -> str | None:
        """The hash that all files have in common; None where they differ."""
        found = {sha256 for side in self.hashes.values() for sha256 in side}
        return found.pop() if len(found) == 1 else None

    @property
    def verdict(self) -> str:
        """The outcome in a sentence or two."""
        if self.error or self.status != "COMPLETED":
            return self.error or f"The race ended early: {self.status}."
        sync, async_ = self.sides
        outcome = describe_race(sync.outcome, async_.outcome)
        return f"{describe_plug(self.plug)} {outcome}" if self.plug else outcome

    @cached_property
    def axis(self) -> Axis:
        """The time axis of both sides."""
        return Axis(MARGIN * max(self.at_least_ms, self.now, 1.0))


def last_ms(requests: Sequence[RaceRequest]) -> float:
    """The time of the last event of some requests."""
    times = (time for request in requests for time in (request.disconnected, request.ended, request.result))
    return max((time for time in times if not math.isnan(time)), default=0.0)
