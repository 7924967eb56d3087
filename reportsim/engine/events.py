"""The hub of Server-Sent Events: one tick, one rendering and one ring for every subscriber.

Transitions arrive after their commit. The first is sent at once; what follows within the gathering time is sent
together, each request in its newest state. Every message has an id `<boot>-<n>`; the ring replays what came after one.
"""

import asyncio
import contextlib
from collections import deque
from collections.abc import AsyncIterator, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any, Final
from uuid import UUID

from reportsim.core.encoding import dumps
from reportsim.core.identifiers import boot_id
from reportsim.core.model import CallbackLog, Request

GATHER_S: Final = 0.25
RING: Final = 1_000
QUEUE: Final = 200
MOST_CHANGES: Final = 2_000


@dataclass(frozen=True, slots=True)
class Message:
    """One event: whole bytes for those who see everything, and its parts for those who see one request or run."""

    number: int
    id: str
    event: str
    items: tuple[tuple[UUID, UUID | None, bytes], ...]
    single: bool
    raw: bytes

    def filtered(self, request_id: UUID | None, run: UUID | None) -> bytes | None:
        """The event as a subscriber with these filters sees it; None when it is not concerned."""
        if request_id is None and run is None:
            return self.raw or None
        if not self.items:
            return self.raw
        chosen = [
            data
            for item_id, item_run, data in self.items
            if (request_id is None or item_id == request_id) and (run is None or item_run == run)
        ]
        return encode(self.id, self.event, join(chosen, self.single)) if chosen else None


def join(parts: list[bytes], single: bool) -> bytes:
    """The data of an event: one object, or `{"items": […]}`."""
    return parts[0] if single else b'{"items":[' + b",".join(parts) + b"]}"


def encode(id: str, event: str, data: bytes) -> bytes:
    """An event on the wire (WHATWG HTML section 9.2); JSON has no line breaks, so one data line is enough."""
    return b"id: " + id.encode() + b"\nevent: " + event.encode() + b"\ndata: " + data + b"\n\n"


@dataclass(eq=False, slots=True)
class Subscriber:
    """One open stream: a bounded queue, and why it ended."""

    request_id: UUID | None
    run: UUID | None
    queue: deque[bytes] = field(default_factory=deque)
    wake: asyncio.Event = field(default_factory=asyncio.Event)
    closed: bool = False

    def offer(self, data: bytes) -> None:
        """Queues bytes; a reader too slow for the bound is cut, and resumes by its last id."""
        if len(self.queue) >= QUEUE:
            self.close()
        if not self.closed:
            self.queue.append(data)
            self.wake.set()

    def close(self) -> None:
        """Ends the stream once what is queued has been read."""
        self.closed = True
        self.wake.set()

    async def read(self, timeout: float) -> bytes | None:
        """Everything that is queued, joined; empty after `timeout` seconds of silence, None at the end."""
        if not self.queue and not self.closed:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(timeout):
                    await self.wake.wait()
        self.wake.clear()
        if self.queue:
            data = b"".join(self.queue)
            self.queue.clear()
            return data
        return None if self.closed else b""


class Hub:
    """Where transitions become events, and where those who wait for an end are told."""

    def __init__(self) -> None:
        """Makes a hub; it sends once `run` runs."""
        self.boot = boot_id()
        self._number = 0
        self._ring: deque[Message] = deque(maxlen=RING)
        self._subscribers: set[Subscriber] = set()
        self._changed: dict[UUID, Request] = {}
        self._too_many = False
        self._wake = asyncio.Event()
        self._ends: dict[UUID, set[asyncio.Future[Request]]] = {}
        self._closed = False

    @property
    def last_id(self) -> str:
        """The id of the newest message."""
        return f"{self.boot}-{self._number}"

    @property
    def subscribers(self) -> int:
        """How many streams are open."""
        return len(self._subscribers)

    def publish(self, requests: Iterable[Request]) -> None:
        """Takes the newest states of requests, after their commit."""
        for request in requests:
            if request.ended:
                for waiter in self._ends.pop(request.id, ()):
                    if not waiter.done():
                        waiter.set_result(request)
            if len(self._changed) < MOST_CHANGES or request.id in self._changed:
                self._changed.pop(request.id, None)
                self._changed[request.id] = request
            else:
                self._too_many = True
        self._wake.set()

    def publish_log(self, log: CallbackLog, run: UUID | None = None) -> None:
        """Sends one row of the callback log."""
        self._send("callback", [(log.request_id, run, dumps(log.as_json()))], single=True)

    def publish_event(self, event: str, data: Any) -> None:
        """Sends any other event to every subscriber."""
        self._send(event, [], single=True, data=dumps(data))

    def reset(self) -> None:
        """Tells every subscriber to read again: something may have been missed."""
        self._send("reset", [], single=True, data=b"{}")

    async def run(self) -> None:
        """The tick: renders what has gathered, once for all."""
        while True:
            await self._wake.wait()
            self._wake.clear()
            changed, self._changed = self._changed, {}
            if self._too_many:
                self._too_many = False
                self.reset()
            elif changed:
                parts = [(item.id, item.run_id, dumps(item.as_json())) for item in changed.values()]
                self._send("requests", parts, single=False)
            await asyncio.sleep(GATHER_S)

    def _send(
        self, event: str, items: list[tuple[UUID, UUID | None, bytes]], *, single: bool, data: bytes = b""
    ) -> None:
        self._number += 1
        visible = [part for _, run, part in items if run is None]
        payload = data or (join(visible, single) if visible else b"")
        raw = encode(self.last_id, event, payload) if payload else b""
        message = Message(self._number, self.last_id, event, tuple(items), single, raw)
        self._ring.append(message)
        for subscriber in tuple(self._subscribers):
            chunk = message.filtered(subscriber.request_id, subscriber.run)
            if chunk:
                subscriber.offer(chunk)

    @contextlib.contextmanager
    def subscribe(
        self, last_id: str | None = None, *, request_id: UUID | None = None, run: UUID | None = None
    ) -> Iterator[Subscriber]:
        """Opens a stream: what came after `last_id` first, or a reset when that is no longer known, then live."""
        subscriber = Subscriber(request_id, run)
        if last_id:
            for chunk in self._replay(last_id, subscriber):
                subscriber.queue.append(chunk)
        if self._closed:
            subscriber.close()
        self._subscribers.add(subscriber)
        try:
            yield subscriber
        finally:
            self._subscribers.discard(subscriber)

    def _replay(self, last_id: str, subscriber: Subscriber) -> Iterator[bytes]:
        boot, _, text = last_id.rpartition("-")
        number = int(text) if text.isascii() and text.isdigit() and len(text) < 19 else -1
        oldest = self._ring[0].number if self._ring else self._number + 1
        if boot != self.boot or not oldest - 1 <= number <= self._number:
            yield encode(self.last_id, "reset", b"{}")
            return
        for message in self._ring:
            if message.number > number:
                chunk = message.filtered(subscriber.request_id, subscriber.run)
                if chunk:
                    yield chunk

    @contextlib.contextmanager
    def end_of(self, request_id: UUID) -> Iterator[asyncio.Future[Request]]:
        """A future of the request's terminal state, as long as the block lasts."""
        waiter: asyncio.Future[Request] = asyncio.get_running_loop().create_future()
        self._ends.setdefault(request_id, set()).add(waiter)
        try:
            yield waiter
        finally:
            waiters = self._ends.get(request_id)
            if waiters is not None:
                waiters.discard(waiter)
                if not waiters:
                    del self._ends[request_id]

    def close(self) -> None:
        """Ends every stream cleanly, and those opened from now on."""
        self._closed = True
        for subscriber in tuple(self._subscribers):
            subscriber.close()

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator["Hub"]:
        """Runs the tick as long as the block lasts."""
        task = asyncio.create_task(self.run(), name="hub")
        try:
            yield self
        finally:
            self.close()
            task.cancel()
