"""The race: the same requests down two lanes at once. What is asked for, what to expect, and the lanes as drawn."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from statistics import median
from typing import Any, Final

from marshmallow import EXCLUDE, Schema, fields, validate

from reportsim.benchmark.plan import Arrivals, Plan
from reportsim.benchmark.schedule import make_schedule
from reportsim.benchmark.theory.simulation import simulate
from reportsim.core.model import Mode
from reportsim.core.service_time import LONGEST_MS, ServiceTime
from reportsim.pages.filters import duration
from reportsim.pages.forms import number
from reportsim.pages.race.density_chart import Picture, picture
from reportsim.pages.service_time_form import DISTRIBUTIONS, service_time
from reportsim.pages.timeline import Axis, Span
from reportsim.reports.fields import Number, Whole

# About what a 202 takes: before the race, the lanes are drawn with it.
ACCEPT_MS: Final = 4.0
# What is drawn before and after the end, so that the last bar does not touch the edge.
MARGIN: Final = 1.06


class RaceForm(Schema):
    """The controls of the race, with their bounds; in the field names of the API where it has them."""

    class Meta:
        """marshmallow's options."""

        unknown = EXCLUDE

    requests = Whole(load_default=12, validate=validate.Range(2, 24))
    workers = Whole(load_default=3, validate=validate.Range(1, 8))
    distribution = fields.String(load_default="exponential", validate=validate.OneOf(DISTRIBUTIONS))
    mean_ms = Number(load_default=800, validate=validate.Range(50, 5_000))
    sigma = Number(load_default=1.0, validate=validate.Range(0.1, 1.5))
    slow_share = Number(load_default=0.1, validate=validate.Range(0.01, 0.5))
    client_timeout_s = Number(load_default=3, validate=validate.Range(0.2, 30))
    callback_failures = Whole(load_default=0, validate=validate.Range(0, 2))
    seed = Whole(load_default=7, validate=validate.Range(0, 2**31 - 1))


@dataclass(frozen=True, slots=True, kw_only=True)
class Controls:
    """What the controls say."""

    requests: int
    workers: int
    distribution: str
    mean_ms: float
    sigma: float
    slow_share: float
    client_timeout_s: float
    callback_failures: int
    seed: int

    @property
    def service_time(self) -> dict[str, Any]:
        """The distribution as the API has it."""
        return service_time(self.distribution, mean_ms=self.mean_ms, sigma=self.sigma, slow_share=self.slow_share)

    @property
    def picture(self) -> Picture:
        """The distribution, drawn, with the patience of clients in it."""
        return picture(ServiceTime(self.service_time, LONGEST_MS), self.client_timeout_s)

    @property
    def plan(self) -> Plan:
        """The race as a benchmark: one burst, on both sides at once."""
        return Plan(
            rate=self.requests,
            duration_s=1,
            arrivals=Arrivals.BURST,
            together=True,
            callback_failures=self.callback_failures,
            seed=self.seed,
            workers=self.workers,
            service_time=self.service_time,
            client_timeout_s=self.client_timeout_s,
            slo_s=self.client_timeout_s,
        )


NONE: Final = math.nan


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    """One try to deliver a callback; milliseconds."""

    start: float
    end: float
    delivered: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Lap:
    """One request of one lane: moments in milliseconds from the start of the race; NaN: it has not happened."""

    number: int
    mode: Mode
    left: float = NONE
    """The client's connection ended."""
    queued: float = 0.0
    started: float = NONE
    ended: float = NONE
    result: float = NONE
    """The result was in the client's hands."""
    status: str = ""
    """What the client was told last."""
    attempts: Sequence[Attempt] = ()
    gave_up: bool = False

    def spans(self, axis: Axis, now: float) -> list[Span]:
        """The bars; what has not ended goes on until now."""
        drawn: list[Span | None] = [
            self._span(axis, "hold", self.queued, self.left, now, "connected"),
            self._span(axis, "queue", self.queued, self._left_queue, now, "in the queue"),
        ]
        if self.gave_up and self.left < (math.inf if math.isnan(self.ended) else self.ended):
            split = max(self.started, self.left)
            if split > self.started:
                drawn.append(self._span(axis, "work", self.started, split, now, "at work"))
            drawn.append(self._span(axis, "vain", split, self.ended, now, "at work for nobody"))
        else:
            drawn.append(self._span(axis, "work", self.started, self.ended, now, "at work"))
        return [span for span in drawn if span] + self._delivery(axis)

    @property
    def _left_queue(self) -> float:
        return self.ended if math.isnan(self.started) else self.started

    @staticmethod
    def _span(axis: Axis, kind: str, start: float, end: float, now: float, said: str) -> Span | None:
        if math.isnan(start) or start >= now:
            return None
        going_on = math.isnan(end) or end > now
        until = now if going_on else end
        return axis.span(kind, start, until, f"{said} for {duration(until - start)}", open=going_on)

    def _delivery(self, axis: Axis) -> list[Span]:
        drawn = []
        for before, attempt in zip((None, *self.attempts), self.attempts, strict=False):
            if before is not None:
                drawn.append(axis.span("pause", before.end, attempt.start, "wait before the next attempt"))
            kind = "call" if attempt.delivered else "miss"
            drawn.append(axis.span(kind, attempt.start, attempt.end, "callback"))
        return drawn

    @property
    def told(self) -> str:
        """How it ended for the client, in a figure."""
        if self.gave_up:
            return "gave up"
        return "" if math.isnan(self.result) else duration(self.result)

    def held_ms(self, now: float) -> float:
        """For how long the client has held its connection."""
        if math.isnan(self.queued):
            return 0.0
        return max(min(now if math.isnan(self.left) else self.left, now) - self.queued, 0.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Lane:
    """One side of the race."""

    mode: Mode
    laps: Sequence[Lap]
    now: float
    """Milliseconds since the start, up to which the lane is drawn."""

    @property
    def held_ms(self) -> float:
        """The time that all clients together have held their connections."""
        return sum(lap.held_ms(self.now) for lap in self.laps)

    @property
    def results(self) -> list[float]:
        """The times to the results that have come."""
        return [lap.result for lap in self.laps if lap.result <= self.now]

    @property
    def gave_up(self) -> int:
        """Clients that left without a result."""
        return sum(lap.gave_up and lap.left <= self.now for lap in self.laps)

    @property
    def median_ms(self) -> float | None:
        """The median time to a result, over the results that came."""
        return median(self.results) if self.results else None

    @property
    def words(self) -> str:
        """The lane in a sentence."""
        count = len(self.laps)
        parts = [f"{count} {self.mode} requests", f"clients connected for {duration(self.held_ms)} in all"]
        parts.append(f"{len(self.results)} results" + (f", {self.gave_up} gave up" if self.gave_up else ""))
        if self.median_ms is not None:
            parts.append(f"half of the results within {duration(self.median_ms)}")
        return "; ".join(parts)


@dataclass(frozen=True, kw_only=True)
class Race:
    """Both lanes on one axis, expected or run."""

    lanes: Sequence[Lane]
    expected: bool
    """Whether this is what to expect, before anything ran."""
    status: str = ""
    id: str | None = None
    at_least_ms: float = 0.0
    hashes: Mapping[str, Sequence[str]] = field(default_factory=dict)
    """The sha256 of every file of each side that there is."""
    trouble: str | None = None
    """Why it came to no end."""

    @property
    def running(self) -> bool:
        """Whether it goes on."""
        return self.status in {"PENDING", "RUNNING"}

    @property
    def now(self) -> float:
        """Milliseconds since the start."""
        return max(lane.now for lane in self.lanes)

    @property
    def files(self) -> int:
        """How many files there are, once both sides have some."""
        return sum(map(len, self.hashes.values())) if all(self.hashes.get(mode) for mode in Mode) else 0

    @property
    def sha256(self) -> str | None:
        """The one hash of all files; None where they differ."""
        found = {sha256 for side in self.hashes.values() for sha256 in side}
        return found.pop() if len(found) == 1 else None

    @property
    def verdict(self) -> str:
        """What came of it, in a sentence or two."""
        if self.trouble or self.status != "COMPLETED":
            return self.trouble or f"The race was ended early: {self.status}."
        sync, later = self.lanes
        count = len(sync.laps)
        lost = f"{sync.gave_up} of {count} gave up" if sync.gave_up else f"all {count} got their report"
        got = f"all {count}" if len(later.results) == count else f"{len(later.results)} of {count}"
        return (
            f"Sync clients waited {duration(sync.held_ms)} on open connections, and {lost}. Async clients waited"
            f" {duration(later.held_ms)}, and {got} were called back with their report."
        )

    @cached_property
    def axis(self) -> Axis:
        """The time axis of both lanes."""
        return Axis(MARGIN * max(self.at_least_ms, self.now, 1.0))


def last_ms(laps: Sequence[Lap]) -> float:
    """The last moment of some requests."""
    moments = (moment for lap in laps for moment in (lap.left, lap.ended, lap.result) if not math.isnan(moment))
    return max(moments, default=0.0)


def expected(controls: Controls, waits_s: Sequence[float]) -> Race:
    """The race as the event simulation has it, with the very service times that the server will draw."""
    services_s = make_schedule(controls.plan).services
    flow = simulate([0.0] * len(services_s), services_s, workers=controls.workers)
    lanes = []
    for mode in Mode:
        laps = [
            expected_lap(controls, mode, number, 1000 * start, 1000 * end, waits_s)
            for number, (start, end) in enumerate(zip(flow.starts, flow.ends, strict=True), 1)
        ]
        lanes.append(Lane(mode=mode, laps=laps, now=last_ms(laps)))
    return Race(lanes=lanes, expected=True)


def expected_lap(
    controls: Controls, mode: Mode, number: int, started: float, ended: float, waits_s: Sequence[float]
) -> Lap:
    """One request as it is expected."""
    patience = 1000 * controls.client_timeout_s
    if mode is Mode.SYNC:
        gave_up = ended > patience
        left = min(ended, patience)
        result = NONE if gave_up else ended
        return Lap(number=number, mode=mode, left=left, started=started, ended=ended, result=result, gave_up=gave_up)
    last_wait = waits_s[-1] if waits_s else 0.0
    waits = [*waits_s, *[last_wait] * controls.callback_failures][: controls.callback_failures]
    attempts, at = [], ended
    for wait in waits:
        attempts.append(Attempt(start=at, end=at + ACCEPT_MS, delivered=False))
        at += ACCEPT_MS + 1000 * wait
    attempts.append(Attempt(start=at, end=at + ACCEPT_MS, delivered=True))
    return Lap(
        number=number,
        mode=mode,
        left=ACCEPT_MS,
        started=started,
        ended=ended,
        result=at + ACCEPT_MS,
        attempts=attempts,
    )


def read_controls(given: Mapping[str, str]) -> Controls:
    """The controls as a form or a query has them; what is missing has its default.

    Raises:
        marshmallow.ValidationError: A value is out of its bounds.
    """
    form = RaceForm()
    texts = {name: given[name] for name in form.fields if name in given}
    numbers = {name: number(value) for name, value in texts.items() if name != "distribution"}
    return Controls(**form.load({**texts, **numbers}))
