"""The inboxes of the demo receiver: the last callbacks of each, within bounds."""

from collections import OrderedDict, deque
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final

from aiohttp import web

from reportsim.core.model import rfc3339

MAX_INBOXES: Final = 1_000
MAX_ARRIVALS: Final = 50
MAX_BYTES: Final = 32 * 1024 * 1024
OVERHEAD: Final = 1_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Arrival:
    """One received callback; `since_accepted_ms` is computed from its signed body."""

    at: datetime
    since_accepted_ms: float | None
    headers: dict[str, str]
    body: str
    verified: bool
    duplicate: bool
    step: str

    @property
    def size(self) -> int:
        """The approximate memory that it takes."""
        return OVERHEAD + len(self.body) + sum(len(name) + len(value) for name, value in self.headers.items())

    def as_json(self) -> dict[str, Any]:
        """The callback as the inbox returns it."""
        return {
            "received_at": rfc3339(self.at),
            "since_accepted_ms": self.since_accepted_ms,
            "headers": self.headers,
            "body": self.body,
            "verified": self.verified,
            "duplicate": self.duplicate,
            "answer": self.step,
        }


@dataclass(slots=True)
class Inbox:
    """The last callbacks under one name."""

    arrivals: deque[Arrival] = field(default_factory=deque)
    size: int = 0


class Inboxes:
    """All inboxes; the least recently used are dropped first."""

    def __init__(self) -> None:
        """Starts without inboxes; each is created by its first callback."""
        self._inboxes: OrderedDict[str, Inbox] = OrderedDict()
        self._size = 0

    def add(self, name: str, arrival: Arrival) -> None:
        """Stores a callback."""
        inbox = self._inboxes.setdefault(name, Inbox())
        self._inboxes.move_to_end(name)
        inbox.arrivals.append(arrival)
        self._grow(inbox, arrival.size)
        if len(inbox.arrivals) > MAX_ARRIVALS:
            self._grow(inbox, -inbox.arrivals.popleft().size)
        while len(self._inboxes) > MAX_INBOXES or (self._size > MAX_BYTES and len(self._inboxes) > 1):
            _, dropped = self._inboxes.popitem(last=False)
            self._size -= dropped.size

    def _grow(self, inbox: Inbox, size: int) -> None:
        inbox.size += size
        self._size += size

    def arrivals(self, name: str) -> list[Arrival]:
        """The callbacks in an inbox, oldest first."""
        inbox = self._inboxes.get(name)
        return list(inbox.arrivals) if inbox else []

    def has_accepted(self, name: str, message_id: str) -> bool:
        """Whether a message with this id has been accepted."""
        return any(
            arrival.verified and arrival.headers.get("webhook-id") == message_id and arrival.step.startswith("2")
            for arrival in self.arrivals(name)
        )


INBOXES: Final = web.AppKey("INBOXES", Inboxes)
