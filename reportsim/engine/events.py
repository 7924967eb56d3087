"""The hub of Server-Sent Events: one tick, one rendering and one ring for every subscriber.

Transitions arrive after their commit. The first is sent at once; what follows within the gathering time is sent
together, each request in its newest state. Every message has an id `<boot>-<n>`; the ring replays what came after one.
"""

import asyncio
import contextlib
import functools
from collections import OrderedDict, deque
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple
from uuid import UUID

from reportsim.core.encoding import dumps
from reportsim.core.identifiers import boot_id
from reportsim.core.model import CallbackLog, Request

GATHER_S: Final = 0.25
RING: Final = 1_000
QUEUE: Final = 200
MOST_CHANGES: Final = 2_000
MOST_REMEMBERED: Final = 10_000


class Source(NamedTuple):
    """What a part of an event is about, and the state that it shows."""

    id: UUID
    run: UUID | None
    state: Request | CallbackLog


class Message:
    """One event, rendered when the first subscriber needs it: once for all who see everything."""

    def __init__(self, number: int, id: str, event: str, sources: Sequence[Source], data: bytes) -> None:
        """Keeps what the event tells; `data` is that of an event without sources."""
        self.number = number
        self.id = id
        self.event = event
        self._sources = sources
        self._data = data

    @functools.cached_property
    def _parts(self) -> list[bytes]:
        return [dumps(source.state.as_json()) for source in self._sources]

    @functools.cached_property
    def raw(self) -> bytes:
        """The event as those see it who asked for nothing in particular; rows of benchmark runs are left out."""
        if not self._sources:
            return encode(self.id, self.event, self._data)
        return self._joined(lambda source: source.run is None)

    def filtered(self, request_id: UUID | None, run: UUID | None) -> bytes:
        """The event as a subscriber with these filters sees it; empty when it is not concerned."""
        if (request_id is None and run is None) or not self._sources:
            return self.raw
        return self._joined(
            lambda source: (request_id is None or source.id == request_id) and (run is None or source.run == run)
        )

    def _joined(self, concerns: Callable[[Source], bool]) -> bytes:
        parts = [part for source, part in zip(self._sources, self._parts, strict=True) if concerns(source)]
        if not parts:
            return b""
        data = parts[0] if self.event == "callback" else b'{"items":[' + b",".join(parts) + b"]}"
        return encode(self.id, self.event, data)


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
        self._latest: OrderedDict[UUID, tuple[int, ...]] = OrderedDict()
        self._closed = False

    @property
    def last_id(self) -> str:
        """The id of the newest message."""
        return f"{self.boot}-{self._number}"

    @property
    def subscribers(self) -> int:
        """How many streams are open."""
        return len(self._subscribers)

    def publish(self, requests: Iterable[Request]) -> list[UUID]:
        """Takes the newest states of requests, after their commit; says which of them are news."""
        news = [request for request in requests if self._is_news(request)]
        for request in news:
            if request.ended:
                for waiter in self._ends.pop(request.id, ()):
                    if not waiter.done():
                        waiter.set_result(request)
            if len(self._changed) < MOST_CHANGES or request.id in self._changed:
                self._changed.pop(request.id, None)
                self._changed[request.id] = request
            else:
                self._too_many = True
        if news:
            self._wake.set()
        return [request.id for request in news]

    def _is_news(self, request: Request) -> bool:
        """Whether a state is newer than what was published: what replicas read of each other may be late."""
        if self._latest.get(request.id, ()) >= request.progress:
            return False
        state = request.progress
        self._latest[request.id] = state
        self._latest.move_to_end(request.id)
        if len(self._latest) > MOST_REMEMBERED:
            self._latest.popitem(last=False)
        return True

    def publish_log(self, log: CallbackLog, run: UUID | None = None) -> None:
        """Sends one row of the callback log."""
        self._send("callback", [Source(log.request_id, run, log)])

    def publish_event(self, event: str, data: Any) -> None:
        """Sends any other event to every subscriber."""
        self._send(event, data=dumps(data))

    def reset(self) -> None:
        """Tells every subscriber to read again: something may have been missed."""
        self._send("reset", data=b"{}")

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
                self._send("requests", [Source(item.id, item.run_id, item) for item in changed.values()])
            await asyncio.sleep(GATHER_S)

    def _send(self, event: str, sources: Sequence[Source] = (), *, data: bytes = b"") -> None:
        self._number += 1
        message = Message(self._number, self.last_id, event, sources, data)
        self._ring.append(message)
        for subscriber in tuple(self._subscribers):
            if chunk := message.filtered(subscriber.request_id, subscriber.run):
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
