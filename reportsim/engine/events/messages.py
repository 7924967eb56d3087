"""Messages: what changed, as each view shows it, rendered once for all of its subscribers."""

from collections.abc import Container, Iterable, Sequence
from typing import Final, NamedTuple
from uuid import UUID

from reportsim.core.json import dumps
from reportsim.core.model import CallbackLog, Request

# What a state counts for until it is rendered, and what every message counts for besides its bytes.
UNRENDERED: Final = 10_000
OF_MESSAGE: Final = 1_000


class View(NamedTuple):
    """What a stream shows: what is about one request, one benchmark run, or both at once.

    Without either it shows all but the rows of benchmark runs.
    """

    request_id: UUID | None = None
    run: UUID | None = None


class Source(NamedTuple):
    """What a part of an event is about, and the state that it shows."""

    id: UUID
    run: UUID | None
    state: Request | CallbackLog


class Part(NamedTuple):
    """A source as it is sent."""

    id: UUID
    run: UUID | None
    data: bytes


class Message:
    """One event; each part of it is rendered when the first subscriber needs it, once for all."""

    def __init__(self, number: int, id: str, event: str, sources: Sequence[Source], data: bytes) -> None:
        """Keeps the states that an event shows; `data` belongs to an event without sources."""
        self.number = number
        self.id = id
        self.event = event
        self.size = OF_MESSAGE + len(data) + UNRENDERED * len(sources)
        self._parts: list[Source | Part] = list(sources)
        self.parts = len(self._parts)
        self._data = data

    def _render(self, number: int) -> bytes:
        """A part's bytes, which replace the state that they were rendered from: they need less memory."""
        part = self._parts[number]
        if isinstance(part, Source):
            part = self._parts[number] = Part(part.id, part.run, dumps(part.state.as_json()))
            self.size += len(part.data) - UNRENDERED
        return part.data

    def render_for(self, views: Container[View]) -> dict[View, bytes]:
        """The event as each of some views shows it, for the views that it concerns, in one pass over its parts."""
        seen: dict[View, list[bytes]] = {}
        for number, part in enumerate(self._parts):
            for view in {View(part.id), View(run=part.run), View(part.id, part.run)}:
                if view in views:
                    seen.setdefault(view, []).append(self._render(number))
        return {view: self._encode(data) for view, data in seen.items()}

    def render_unfiltered(self) -> bytes:
        """An event without sources, which every view shows alike; empty for every other event."""
        return encode(self.id, self.event, self._data) if self._data else b""

    def _encode(self, data: Sequence[bytes]) -> bytes:
        return encode(
            self.id, self.event, data[0] if self.event == "callback" else b'{"items":[' + b",".join(data) + b"]}"
        )


def encode(id: str, event: str, data: bytes) -> bytes:
    """An event on the wire (WHATWG HTML section 9.2); JSON has no line breaks, so one data line is enough."""
    return b"id: " + id.encode() + b"\nevent: " + event.encode() + b"\ndata: " + data + b"\n\n"


def render_messages(messages: Iterable[Message], views: Iterable[View]) -> dict[View, bytes]:
    """Some messages as each of some views shows them, for the views that they concern."""
    chunks: dict[View, list[bytes]] = {view: [] for view in views}
    if not chunks:
        return {}
    for message in messages:
        if whole := message.render_unfiltered():
            for chunk in chunks.values():
                chunk.append(whole)
        else:
            for view, data in message.render_for(chunks).items():
                chunks[view].append(data)
    return {view: b"".join(chunk) for view, chunk in chunks.items() if chunk}
