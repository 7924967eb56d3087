"""What the server sees of a run: moments by index, and open, busy and waiting as exact areas below their curves."""

import math
import time
from array import array
from dataclasses import dataclass, field
from uuid import UUID

from reportsim.benchmark.samples import Integrals, Samples, nothing
from reportsim.core.model import Mode


@dataclass(slots=True)
class Area:
    """A step function of time, integrated as it changes."""

    value: int = 0
    most: int = 0
    total: float = 0.0
    _since: float = 0.0

    def change(self, by: int, moment: float) -> None:
        """Goes up or down."""
        self.total += self.value * (moment - self._since)
        self._since = moment
        self.value += by
        self.most = max(self.most, self.value)


@dataclass(slots=True)
class Side:
    """One side's moments, absolute on the monotonic clock, and its areas."""

    queued: "array[float]"
    started: "array[float]"
    ended: "array[float]"
    held: "array[float]"
    opened: Area = field(default_factory=Area)
    busy: Area = field(default_factory=Area)
    queue: Area = field(default_factory=Area)
    accepted: int = 0
    last: float = 0.0

    @classmethod
    def empty(cls, count: int) -> "Side":
        """A side of which nothing has been seen."""
        return cls(nothing(count), nothing(count), nothing(count), nothing(count))


class Recorder:
    """Watches the requests of one run as they pass through the service."""

    def __init__(self, count: int) -> None:
        """Expects `count` requests per side."""
        self._count = count
        self._sides = {mode: Side.empty(count) for mode in Mode}
        self._rows: dict[UUID, tuple[Mode, int]] = {}
        self.ended = 0

    @property
    def waiting(self) -> int:
        """Requests that are queued or being worked on."""
        return len(self._rows)

    def valid(self, index: int) -> bool:
        """Whether an index belongs to the plan."""
        return 0 <= index < self._count

    def opens(self, mode: Mode) -> float:
        """A client's request has been read; the moment it was."""
        moment = time.monotonic()
        self._sides[mode].opened.change(+1, moment)
        return moment

    def closes(self, mode: Mode, index: int, opened: float) -> None:
        """The client's connection is free again, or gone."""
        side, moment = self._sides[mode], time.monotonic()
        side.opened.change(-1, moment)
        side.held[index] = moment - opened
        side.last = max(side.last, moment)

    def queues(self, row: UUID, mode: Mode, index: int) -> None:
        """The request is in the queue."""
        side, moment = self._sides[mode], time.monotonic()
        self._rows[row] = mode, index
        side.queued[index] = moment
        side.queue.change(+1, moment)
        side.accepted += 1

    def starts(self, row: UUID) -> None:
        """A worker begins."""
        if row in self._rows:
            mode, index = self._rows[row]
            side, moment = self._sides[mode], time.monotonic()
            side.started[index] = moment
            side.queue.change(-1, moment)
            side.busy.change(+1, moment)

    def ends(self, row: UUID) -> None:
        """The worker's slot is free, or the request was dropped from the queue."""
        if row in self._rows:
            mode, index = self._rows.pop(row)
            side, moment = self._sides[mode], time.monotonic()
            area = side.queue if math.isnan(side.started[index]) else side.busy
            area.change(-1, moment)
            side.ended[index] = moment
            side.last = max(side.last, moment)
            self.ended += 1

    def complete(self, samples: Samples, starts: tuple[float, float]) -> Integrals:
        """Adds what the server saw to the client's samples, and returns the areas; `starts` are those of the blocks."""
        side = self._sides[samples.mode]
        elapsed = 0.0
        for block, start in zip(samples.blocks, starts, strict=True):
            last = start
            for index in block:
                for name in ("queued", "started", "ended"):
                    moment = getattr(side, name)[index]
                    getattr(samples, name)[index] = moment - start
                    last = last if math.isnan(moment) else max(last, moment)
                samples.held[index] = side.held[index]
                result = samples.result[index] + start
                last = last if math.isnan(result) else max(last, result)
            elapsed += last - start
        return Integrals(
            elapsed_s=elapsed,
            open_s=side.opened.total,
            open_max=side.opened.most,
            busy_s=side.busy.total,
            queue_s=side.queue.total,
            queue_max=side.queue.most,
            accepted=side.accepted,
        )
