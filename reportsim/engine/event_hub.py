"""The hub of Server-Sent Events: one tick, one rendering and one ring for every subscriber.

Transitions arrive after their commit. The first is sent at once; what follows within the gathering time is sent
together, each request in its newest state. Every message has an id `<boot>-<n>`; the ring replays what came after one.
"""

import asyncio
import contextlib
import itertools
from collections import OrderedDict, deque
from collections.abc import AsyncIterator, Callable, Container, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple
from uuid import UUID

from reportsim.core.identifiers import boot_id
from reportsim.core.json import dumps
from reportsim.core.model import CallbackLog, Request
from reportsim.tasks import in_background

GATHER_S: Final = 0.25
# Bytes that are kept for those who resume, what a state counts for while nobody has asked for its bytes, and what every
# message counts for besides.
RING: Final = 10_000_000
UNRENDERED: Final = 10_000
OF_MESSAGE: Final = 1_000
QUEUE: Final = 200
MOST_QUEUED: Final = 4_000_000
# Bytes that all queues together keep alive: what goes to many of them is there once.
BUDGET: Final = 16_000_000
# What is handed out at once, and how many parts are looked through for it without letting others have their turn.
PIECE: Final = 64 * 1024
MOST_REPLAYED: Final = 4_000_000
MOST_LOOKED_AT: Final = 1_000
MOST_CHANGES: Final = 1_000
MOST_REMEMBERED: Final = 10_000
# Before every message.
UNKNOWN: Final = -2


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
        """Keeps what the event tells; `data` is that of an event without sources."""
        self.number = number
        self.id = id
        self.event = event
        self.size = OF_MESSAGE + len(data) + UNRENDERED * len(sources)
        self._parts: list[Source | Part] = list(sources)
        self.parts = len(self._parts)
        self._data = data

    def _rendered(self, number: int) -> bytes:
        """A part's bytes; the ring keeps them for long, and they are smaller than what they were made of."""
        part = self._parts[number]
        if isinstance(part, Source):
            part = self._parts[number] = Part(part.id, part.run, dumps(part.state.as_json()))
            self.size += len(part.data) - UNRENDERED
        return part.data

    def seen_in(self, views: Container[View]) -> dict[View, bytes]:
        """The event as it is seen in those of some views that it concerns, in one walk through its parts."""
        seen: dict[View, list[bytes]] = {}
        for number, part in enumerate(self._parts):
            for view in {View(part.id), View(run=part.run), View(part.id, part.run)}:
                if view in views:
                    seen.setdefault(view, []).append(self._rendered(number))
        return {view: self._encoded(data) for view, data in seen.items()}

    def whole(self) -> bytes:
        """An event without sources, which all see alike; empty for every other."""
        return encode(self.id, self.event, self._data) if self._data else b""

    def _encoded(self, data: Sequence[bytes]) -> bytes:
        return encode(
            self.id, self.event, data[0] if self.event == "callback" else b'{"items":[' + b",".join(data) + b"]}"
        )


def encode(id: str, event: str, data: bytes) -> bytes:
    """An event on the wire (WHATWG HTML section 9.2); JSON has no line breaks, so one data line is enough."""
    return b"id: " + id.encode() + b"\nevent: " + event.encode() + b"\ndata: " + data + b"\n\n"


def joined(messages: Iterable[Message], views: Iterable[View]) -> dict[View, bytes]:
    """Some messages as they are seen in each of some views that they concern."""
    chunks: dict[View, list[bytes]] = {view: [] for view in views}
    for message in messages:
        if whole := message.whole():
            for chunk in chunks.values():
                chunk.append(whole)
        else:
            for view, data in message.seen_in(chunks).items():
                chunks[view].append(data)
    return {view: b"".join(chunk) for view, chunk in chunks.items() if chunk}


@dataclass(eq=False, slots=True)
class Chunk:
    """Bytes of messages as one view shows them, the same for all of its subscribers."""

    first: int
    """The number of the first of the messages."""
    data: bytes
    readers: int = 0
    """In how many queues it is."""


class Budget:
    """What all queues together keep alive, in bytes."""

    def __init__(self) -> None:
        """Counts nothing yet."""
        self.spent = 0

    def keep(self, chunk: Chunk) -> None:
        """Counts a chunk when the first queue takes it."""
        if not chunk.readers:
            self.spent += len(chunk.data)
        chunk.readers += 1

    def release(self, chunk: Chunk) -> None:
        """Counts it no more when the last queue has given it up."""
        chunk.readers -= 1
        if not chunk.readers:
            self.spent -= len(chunk.data)


@dataclass(eq=False, slots=True)
class Subscriber:
    """One open stream: a place in the ring while it catches up, then a bounded queue, and whether it ended."""

    view: View
    budget: Budget
    replay: Callable[["Subscriber"], bytes]
    queue: deque[Chunk] = field(default_factory=deque)
    queued: int = 0
    position: int | None = None
    """The number of the last message it got, while it reads from the ring."""
    wake: asyncio.Event = field(default_factory=asyncio.Event)
    closed: bool = False

    def offer(self, chunk: Chunk) -> None:
        """Queues bytes; a reader too slow for the bounds is cut, and resumes by its last id."""
        if len(self.queue) >= QUEUE or (self.queue and self.queued + len(chunk.data) > MOST_QUEUED):
            self.close()
        if not self.closed:
            self.budget.keep(chunk)
            self.queue.append(chunk)
            self.queued += len(chunk.data)
            self.wake.set()

    def rewind(self) -> None:
        """Empties the queue: what was in it is read from the ring, or is a reset when that has it no more."""
        if self.queue:
            self.position = self.queue[0].first - 1
            self.clear()

    def clear(self) -> None:
        """Empties the queue."""
        while self.queue:
            self._pop()

    def _pop(self) -> bytes:
        chunk = self.queue.popleft()
        self.budget.release(chunk)
        self.queued -= len(chunk.data)
        return chunk.data

    def close(self) -> None:
        """Ends the stream once what is queued has been read."""
        self.closed = True
        self.wake.set()

    async def read(self, timeout: float) -> bytes | None:
        """The next piece; empty after `timeout` seconds of silence, None at the end."""
        while self.position is not None and not self.closed:
            if piece := self.replay(self):
                return piece
            await asyncio.sleep(0)
        if not self.queue and not self.closed:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(timeout):
                    await self.wake.wait()
        self.wake.clear()
        if self.queue:
            data = [self._pop()]
            size = len(data[0])
            while self.queue and size + len(self.queue[0].data) <= PIECE:
                data.append(self._pop())
                size += len(data[-1])
            return b"".join(data)
        return None if self.closed else b""


class EventHub:
    """Where transitions become events, and where those who wait for an end are told."""

    def __init__(self) -> None:
        """Makes a hub; it sends once `run` runs."""
        self.boot = boot_id()
        self._number = 0
        self._ring: deque[Message] = deque()
        self._subscribers: dict[View, set[Subscriber]] = {}
        self._changed: dict[UUID, Request] = {}
        self._logs: list[Source] = []
        self._too_many = False
        self._wake = asyncio.Event()
        self._ends: dict[UUID, set[asyncio.Future[Request]]] = {}
        self._latest: OrderedDict[UUID, tuple[int, ...]] = OrderedDict()
        self._closed = False
        self.budget = Budget()
        self._replayed: OrderedDict[tuple[int, View], bytes] = OrderedDict()
        self._replayed_bytes = 0

    @property
    def last_id(self) -> str:
        """The id of the newest message."""
        return f"{self.boot}-{self._number}"

    @property
    def subscribers(self) -> int:
        """How many streams are open."""
        return sum(map(len, self._subscribers.values()))

    @property
    def awaited(self) -> set[UUID]:
        """The requests whose end somebody waits for."""
        return set(self._ends)

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

    def knows(self, id: UUID, progress: tuple[int, ...]) -> bool:
        """Whether a request has been published that is as far."""
        return self._latest.get(id, ()) >= progress

    def _is_news(self, request: Request) -> bool:
        """Whether a state is newer than what was published: what replicas read of each other may be late."""
        if self.knows(request.id, request.progress):
            return False
        state = request.progress
        self._latest[request.id] = state
        self._latest.move_to_end(request.id)
        if len(self._latest) > MOST_REMEMBERED:
            self._latest.popitem(last=False)
        return True

    def publish_log(self, log: CallbackLog, run: UUID | None = None) -> None:
        """Takes one row of the callback log, to be sent as an event of its own."""
        if len(self._logs) < MOST_CHANGES:
            self._logs.append(Source(log.request_id, run, log))
        else:
            self._too_many = True
        self._wake.set()

    def publish_event(self, event: str, data: Any) -> None:
        """Sends any other event to every subscriber."""
        self._send([*self._gathered_logs(), self._message(event, data=dumps(data))])

    def reset(self) -> None:
        """Tells every subscriber to read again: something may have been missed."""
        self.publish_event("reset", {})

    async def run(self) -> None:
        """The tick: renders what has gathered, once for all."""
        while True:
            await self._wake.wait()
            self._wake.clear()
            self._send(self._gathered())
            await asyncio.sleep(GATHER_S)

    def _gathered(self) -> list[Message]:
        changed, self._changed = self._changed, {}
        if self._too_many:
            self._too_many = False
            self._logs = []
            return [self._message("reset", data=b"{}")]
        messages = self._gathered_logs()
        if changed:
            messages.append(
                self._message("requests", [Source(item.id, item.run_id, item) for item in changed.values()])
            )
        return messages

    def _gathered_logs(self) -> list[Message]:
        logs, self._logs = self._logs, []
        return [self._message("callback", [log]) for log in logs]

    def _message(self, event: str, sources: Sequence[Source] = (), *, data: bytes = b"") -> Message:
        self._number += 1
        return Message(self._number, self.last_id, event, sources, data)

    def _send(self, messages: list[Message]) -> None:
        self._ring.extend(messages)
        kept = sum(message.size for message in self._ring)
        while kept > RING and len(self._ring) > 1:
            kept -= self._ring.popleft().size
        for view, data in joined(messages, self._subscribers).items():
            chunk = Chunk(messages[0].number, data)
            live = [subscriber for subscriber in self._subscribers[view] if subscriber.position is None]
            for subscriber in live:
                subscriber.offer(chunk)
        if self.budget.spent > BUDGET:
            for subscriber in itertools.chain.from_iterable(self._subscribers.values()):
                subscriber.rewind()

    @contextlib.contextmanager
    def subscribe(
        self, last_id: str | None = None, *, request_id: UUID | None = None, run: UUID | None = None
    ) -> Iterator[Subscriber]:
        """Opens a stream: what came after `last_id` first, or a reset when that is no longer known, then live."""
        view = View(request_id, run)
        subscriber = Subscriber(view, self.budget, self._replay)
        if last_id:
            # What is not known any more is before all that the ring has.
            number = self._number_of(last_id)
            subscriber.position = number if number != self._number else None
        if self._closed:
            subscriber.close()
        of_view = self._subscribers.setdefault(view, set())
        of_view.add(subscriber)
        try:
            yield subscriber
        finally:
            subscriber.clear()
            of_view.discard(subscriber)
            if not of_view:
                del self._subscribers[view]

    def _number_of(self, last_id: str) -> int:
        """The number of a message that the ring can be read on from, or one that is in no ring."""
        boot, _, text = last_id.rpartition("-")
        number = int(text) if text.isascii() and text.isdigit() and len(text) < 19 else UNKNOWN
        return number if boot == self.boot and number <= self._number else UNKNOWN

    def _replay(self, subscriber: Subscriber) -> bytes:
        """The next piece of what a subscriber missed; it may be empty before the end is reached."""
        position = subscriber.position
        assert position is not None
        oldest = self._ring[0].number if self._ring else self._number + 1
        if position < oldest - 1:
            subscriber.position = None
            return encode(self.last_id, "reset", b"{}")
        piece: list[bytes] = []
        size = looked_at = 0
        for message in itertools.islice(self._ring, position + 1 - oldest, None):
            data = self._seen_again(message, subscriber.view)
            if piece and size + len(data) > PIECE:
                break
            position = message.number
            piece.append(data)
            size += len(data)
            looked_at += 1 + message.parts
            if size >= PIECE or looked_at >= MOST_LOOKED_AT:
                break
        subscriber.position = position if position < self._number else None
        return b"".join(piece)

    def _seen_again(self, message: Message, view: View) -> bytes:
        """A message as a view shows it; what was shown last is kept, since those who resume come together."""
        key = message.number, view
        if (data := self._replayed.get(key)) is None:
            data = self._replayed[key] = joined([message], [view]).get(view, b"")
            self._replayed_bytes += len(data) + OF_MESSAGE
            while self._replayed_bytes > MOST_REPLAYED and len(self._replayed) > 1:
                self._replayed_bytes -= len(self._replayed.popitem(last=False)[1]) + OF_MESSAGE
        return data

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
        for of_view in self._subscribers.values():
            for subscriber in of_view:
                subscriber.close()

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator["EventHub"]:
        """Runs the tick as long as the block lasts."""
        async with in_background(self.run(), names=("hub",)):
            try:
                yield self
            finally:
                self.close()
