"""What was recorded of every request of one side, in arrays: eight bytes a moment, no object a request."""

import json
import math
import sys
import zlib
from array import array
from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import IntEnum
from itertools import pairwise
from typing import Any, Final, Self

CLIENT: Final = ("due", "sent", "accepted", "result")
SERVER: Final = ("queued", "started", "ended", "held")
COLUMNS: Final = (*CLIENT, *SERVER)
MOMENTS: Final = COLUMNS[:-1]


class Outcome(IntEnum):
    """How a request ended for its client: exactly one for each that was offered."""

    OK = 0
    """The result came, within the SLO once that is applied."""
    OK_LATE = 1
    """The result came, but later than the SLO."""
    CLIENT_TIMEOUT = 2
    """The client gave up waiting."""
    REFUSED = 3
    """No connection, or one that was reset."""
    SHED = 4
    """429 or 503."""
    HTTP_4XX = 5
    HTTP_5XX = 6
    JOB_FAILED = 7
    """The report failed, and the client was notified."""
    CALLBACK_LOST = 8
    """Accepted, but no valid callback until the end of the run."""

    @property
    def label(self) -> str:
        """The name in JSON."""
        return self.name.lower()


def nothing(count: int) -> "array[float]":
    """So many moments that have not happened."""
    return array("d", [math.nan]) * count


@dataclass(slots=True, eq=False, kw_only=True)
class ServerRecords:
    """What a server recorded of the requests of one side, on the clock of its clients."""

    queued: "array[float]"
    """The request is in the queue."""
    started: "array[float]"
    """A worker began."""
    ended: "array[float]"
    """The worker was done or stopped, or the request was dropped from the queue."""
    held: "array[float]"
    """Seconds for which it held the client's connection."""

    @classmethod
    def unknown(cls, count: int) -> Self:
        """Records of a server that nothing is known of."""
        return cls(**{name: nothing(count) for name in SERVER})

    def waits(self) -> "array[float]":
        """Seconds in the server's queue; until it was dropped where no worker began, NaN where it never got there."""
        return array(
            "d",
            (
                (ended if math.isnan(started) else started) - queued
                for queued, started, ended in zip(self.queued, self.started, self.ended, strict=True)
            ),
        )


@dataclass(slots=True, eq=False, kw_only=True)
class Samples:
    """The requests of one side by index, one block after the other: what their clients recorded, and perhaps a server.

    Moments are seconds from the start of the request's own block on one monotonic clock; NaN: it did not happen, or is
    not known.
    """

    side: str
    """`sync` or `async`; `a` or `b` in an A/A run."""
    bounds: tuple[int, ...]
    """The index at which each block begins, and the number of requests."""
    due: "array[float]"
    sent: "array[float]"
    """The request's bytes were handed to the kernel; for services of others, its connection was taken or begun."""
    accepted: "array[float]"
    """The first final status was there: 202 for async, any for sync."""
    result: "array[float]"
    """The result was in the client's hands: the body read, or a callback received and its signature verified."""
    outcomes: "array[int]"
    """An `Outcome` each; results are OK whether late or not."""
    server: ServerRecords | None = None
    """None: the server is not one that records."""
    earliest: "array[float] | None" = None
    """For results that were polled: the last moment at which there was none yet."""
    reported: "array[float] | None" = None
    """Seconds of service, as a server says in `Server-Timing`."""
    duplicates: int = 0
    """Callbacks that came more than once."""
    numbers: Sequence[int] = ()
    """What pairs a request with that of the other side, within a block; by default its index."""
    _unknown: ServerRecords | None = field(default=None, init=False)

    def __post_init__(self) -> None:
        self.numbers = self.numbers or range(len(self))

    @classmethod
    def empty(cls, side: str, due: "array[float]", bounds: tuple[int, ...], *, recorded: bool = True) -> Self:
        """Samples of requests of which nothing is known but when they are due; `recorded` by their server or not."""
        count = len(due)
        return cls(
            side=side,
            bounds=bounds,
            due=array("d", due),
            sent=nothing(count),
            accepted=nothing(count),
            result=nothing(count),
            outcomes=array("b", [Outcome.REFUSED]) * count,
            server=ServerRecords.unknown(count) if recorded else None,
        )

    def __len__(self) -> int:
        return len(self.due)

    @property
    def seen(self) -> ServerRecords:
        """The server's records, all of them unknown where it has none."""
        if self.server is not None:
            return self.server
        self._unknown = self._unknown or ServerRecords.unknown(len(self))
        return self._unknown

    @property
    def blocks(self) -> tuple[range, ...]:
        """The indices of each block."""
        return tuple(range(start, stop) for start, stop in pairwise(self.bounds))

    def column(self, name: str) -> "array[float]":
        """One of the `COLUMNS`."""
        column: array[float] = getattr(self if name in CLIENT else self.seen, name)
        return column

    def resolved(self, index: int) -> bool:
        """Whether a request's result came."""
        return self.outcomes[index] in {Outcome.OK, Outcome.OK_LATE}

    def times_to_result(self) -> "array[float]":
        """Seconds from the time it was due to the result; infinite where none came."""
        return array(
            "d",
            (
                result - due if outcome <= Outcome.OK_LATE else math.inf
                for due, result, outcome in zip(self.due, self.result, self.outcomes, strict=True)
            ),
        )

    def pack(self) -> bytes:
        """The samples as compressed bytes, about half of their eight bytes a moment."""
        head = {"side": self.side, "bounds": self.bounds, "count": len(self), "duplicates": self.duplicates}
        body = b"".join(little(self.column(name)).tobytes() for name in COLUMNS) + self.outcomes.tobytes()
        return json.dumps(head).encode() + b"\n" + zlib.compress(body, 1)

    @classmethod
    def unpack(cls, packed: bytes) -> Self:
        """The samples that were packed."""
        line, _, rest = packed.partition(b"\n")
        head, body = json.loads(line), zlib.decompress(rest)
        size = 8 * head["count"]
        columns: dict[str, Any] = {}
        for number, name in enumerate(COLUMNS):
            column = array("d")
            column.frombytes(body[number * size : (number + 1) * size])
            columns[name] = little(column)
        outcomes = array("b")
        outcomes.frombytes(body[len(COLUMNS) * size :])
        # Runs of versions before blocks were replications have two blocks, and races one.
        bounds = head.get("bounds") or sorted({0, head["first_block"], head["count"]})
        return cls(
            side=head.get("side") or head["mode"],
            bounds=tuple(bounds),
            duplicates=head["duplicates"],
            outcomes=outcomes,
            server=ServerRecords(**{name: columns.pop(name) for name in SERVER}),
            **columns,
        )


def little(column: "array[float]") -> "array[float]":
    """A column with its bytes in little-endian order, or back."""
    if sys.byteorder == "little":
        return column
    swapped = array("d", column)
    swapped.byteswap()
    return swapped


@dataclass(frozen=True, slots=True, kw_only=True)
class Integrals:
    """What the server itself counted while a side ran: areas below curves, not samples of them."""

    elapsed_s: float
    """From the start of a block until it was empty, summed over the blocks."""
    open_s: float
    """Connection-seconds."""
    open_max: int
    busy_s: float
    """Worker-seconds."""
    queue_s: float
    """Request-seconds in the queue."""
    queue_max: int
    accepted: int = field(default=0)
    """Requests that the server took on."""

    def __add__(self, other: "Integrals") -> "Integrals":
        """Both blocks of a side together."""
        return Integrals(
            elapsed_s=self.elapsed_s + other.elapsed_s,
            open_s=self.open_s + other.open_s,
            open_max=max(self.open_max, other.open_max),
            busy_s=self.busy_s + other.busy_s,
            queue_s=self.queue_s + other.queue_s,
            queue_max=max(self.queue_max, other.queue_max),
            accepted=self.accepted + other.accepted,
        )
