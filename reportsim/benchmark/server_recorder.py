"""What the server sees of a run: moments by index, and open, busy and waiting as exact areas below their curves."""

import asyncio
import math
import time
from array import array
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Self
from uuid import UUID

from reportsim.benchmark.results.samples import Integrals, Samples, nothing

SEEN: Final = ("queued", "started", "ended", "held")


@dataclass(slots=True)
class Area:
    """A step function of time, integrated as it changes; a change may be recorded a little late."""

    value: int = 0
    most: int = 0
    total: float = 0.0
    _since: float = 0.0

    def change(self, by: int, moment: float) -> None:
        """Goes up or down at a moment."""
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
    """Seconds for which the client's connection was held."""
    opened: Area = field(default_factory=Area)
    busy: Area = field(default_factory=Area)
    queue: Area = field(default_factory=Area)
    accepted: int = 0
    over: int = 0

    @classmethod
    def empty(cls, count: int) -> Self:
        """A side of which nothing has been seen."""
        return cls(nothing(count), nothing(count), nothing(count), nothing(count))

    def integrals(self, elapsed_s: float = 0.0) -> Integrals:
        """The areas."""
        return Integrals(
            elapsed_s=elapsed_s,
            open_s=self.opened.total,
            open_max=self.opened.most,
            busy_s=self.busy.total,
            queue_s=self.queue.total,
            queue_max=self.queue.most,
            accepted=self.accepted,
        )

    def live(self) -> dict[str, int]:
        """The side at this moment."""
        return {
            "open_connections": self.opened.value,
            "queue": self.queue.value,
            "busy_workers": self.busy.value,
            "accepted": self.accepted,
            "ended": self.over,
        }


class Recorder:
    """Watches the requests of one run as they pass through the service: the observer of its worker."""

    def __init__(self, names: Sequence[str], count: int = 0) -> None:
        """Expects `count` requests on each side of these names."""
        self.count = count
        self.sides = {name: Side.empty(count) for name in names}
        self._rows: dict[UUID, tuple[Side, int]] = {}
        self._moved = asyncio.Event()

    def expect(self, count: int) -> None:
        """Sets how many requests each side will have, before the first one arrives."""
        self.count = count
        self.sides = {name: Side.empty(count) for name in self.sides}

    @property
    def over(self) -> int:
        """Requests of both sides that no worker is needed for any more."""
        return sum(side.over for side in self.sides.values())

    @property
    def waiting(self) -> int:
        """Requests that are queued or being worked on."""
        return sum(side.queue.value + side.busy.value for side in self.sides.values())

    async def empty(self) -> None:
        """Waits until nothing is queued or being worked on."""
        while self.waiting:
            self._moved.clear()
            await self._moved.wait()

    def opens(self, side: str, moment: float) -> None:
        """A client's request arrived at that moment, which may be before others that have been noted."""
        self.sides[side].opened.change(+1, moment)

    def closes(self, name: str, index: int, opened: float) -> None:
        """The client has its response, or has left."""
        side, moment = self.sides[name], time.monotonic()
        side.opened.change(-1, moment)
        side.held[index] = moment - opened

    def takes(self, id: UUID, side: str, index: int) -> None:
        """The row of a request is about to be written."""
        self._rows[id] = self.sides[side], index

    def queued(self, id: UUID) -> None:
        """The request waits; a claim may have been faster than this news."""
        if id in self._rows:
            side, index = self._rows[id]
            if math.isnan(side.queued[index]):
                self._enters(side, index, time.monotonic())

    def _enters(self, side: Side, index: int, moment: float) -> None:
        side.queued[index] = moment
        side.queue.change(+1, moment)
        side.accepted += 1

    def started(self, id: UUID, moment: float) -> float:
        """A slot is held for it since that moment, or since it was queued; returns which."""
        if id in self._rows:
            side, index = self._rows[id]
            if math.isnan(side.queued[index]):
                self._enters(side, index, time.monotonic())
            moment = max(moment, side.queued[index])
            side.started[index] = moment
            side.queue.change(-1, moment)
            side.busy.change(+1, moment)
        return moment

    def ended(self, id: UUID) -> None:
        """Its slot is free again, or it was dropped from the queue."""
        if id in self._rows:
            side, index = self._rows.pop(id)
            moment = time.monotonic()
            if not math.isnan(side.started[index]):
                side.busy.change(-1, moment)
            elif not math.isnan(side.queued[index]):
                side.queue.change(-1, moment)
            side.ended[index] = moment
            side.over += 1
            self._moved.set()

    def dump(self) -> tuple[dict[str, dict[str, Any]], list[bytes]]:
        """The areas of both sides, and their columns as bytes, for another process of this machine."""
        areas = {
            side: {name: getattr(found.integrals(), name) for name in Integrals.__slots__}
            for side, found in self.sides.items()
        }
        return areas, [getattr(side, name).tobytes() for side in self.sides.values() for name in SEEN]


def load_columns(names: Sequence[str], parts: Sequence[bytes]) -> dict[str, dict[str, "array[float]"]]:
    """The columns of both sides as they were dumped."""
    columns = []
    for part in parts:
        column = array("d")
        column.frombytes(part)
        columns.append(column)
    width = len(SEEN)
    return {
        name: dict(zip(SEEN, columns[number * width : (number + 1) * width], strict=True))
        for number, name in enumerate(names)
    }


def complete(
    samples: Samples, seen: dict[str, "array[float]"], areas: dict[str, Any], starts: Sequence[float]
) -> Integrals:
    """Adds what the server saw to the client's samples, and returns the areas; `starts` are those of the blocks."""
    samples.seen.held[:] = seen["held"]
    elapsed = 0.0
    for block, start in zip(samples.blocks, starts, strict=True):
        last = 0.0
        for name in ("queued", "started", "ended"):
            column, target = seen[name], getattr(samples.seen, name)
            for index in block:
                moment = target[index] = column[index] - start
                if moment > last:
                    last = moment
        last = max((moment for moment in samples.result[block.start : block.stop] if moment > last), default=last)
        elapsed += last
    return Integrals(**{**areas, "elapsed_s": elapsed})
