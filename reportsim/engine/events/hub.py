"""The hub of Server-Sent Events: it gathers changes, and sends each message to every subscriber that it concerns.

Changes are published after their commit. The first is sent at once; those within the gathering time are sent together,
each request in its newest state. Every message has an id `<boot>-<n>`, after which a subscriber can resume.
"""

import asyncio
import contextlib
import itertools
from collections import OrderedDict
from collections.abc import AsyncIterator, Iterable, Iterator, Sequence
from typing import Any, Final
from uuid import UUID

from reportsim.core.identifiers import boot_id
from reportsim.core.json import dumps
from reportsim.core.model import CallbackLog, Request
from reportsim.engine.events.messages import Message, Source, View, encode, render_messages
from reportsim.engine.events.ring import Ring
from reportsim.engine.events.subscriber import Budget, Chunk, Subscriber
from reportsim.tasks import in_background

GATHER_S: Final = 0.25
# Bytes that all queues together may hold; a chunk that is in many of them counts once.
MAX_QUEUED_BYTES: Final = 16_000_000
MAX_CHANGES: Final = 1_000
MAX_REMEMBERED: Final = 10_000
# Before every message.
UNKNOWN: Final = -2


class EventHub:
    """Sends changes of requests as events, and resolves the futures of those that wait for an end."""

    def __init__(self) -> None:
        """Makes a hub; it sends once `run` runs."""
        self.boot = boot_id()
        self._number = 0
        self._ring = Ring()
        self._subscribers: dict[View, set[Subscriber]] = {}
        self._changed: dict[UUID, Request] = {}
        self._logs: list[Source] = []
        self._too_many = False
        self._wake = asyncio.Event()
        self._ends: dict[UUID, set[asyncio.Future[Request]]] = {}
        self._latest: OrderedDict[UUID, tuple[int, ...]] = OrderedDict()
        self._closed = False
        self.budget = Budget()

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
        """The requests whose end is waited for."""
        return set(self._ends)

    def publish(self, requests: Iterable[Request]) -> list[UUID]:
        """Takes the newest states of requests, after their commit; returns the ids of those that were not known."""
        news = [request for request in requests if self._mark_published(request)]
        for request in news:
            if request.ended:
                for waiter in self._ends.pop(request.id, ()):
                    if not waiter.done():
                        waiter.set_result(request)
            if len(self._changed) < MAX_CHANGES or request.id in self._changed:
                self._changed.pop(request.id, None)
                self._changed[request.id] = request
            else:
                self._too_many = True
        if news:
            self._wake.set()
        return [request.id for request in news]

    def knows(self, id: UUID, progress: tuple[int, ...]) -> bool:
        """Whether a request has been published with this progress or more."""
        return self._latest.get(id, ()) >= progress

    def _mark_published(self, request: Request) -> bool:
        """Remembers a state; False when it, or a newer one, was published: states of other replicas may arrive late."""
        progress = request.progress
        if self.knows(request.id, progress):
            return False
        self._latest[request.id] = progress
        self._latest.move_to_end(request.id)
        if len(self._latest) > MAX_REMEMBERED:
            self._latest.popitem(last=False)
        return True

    def publish_log(self, log: CallbackLog, run: UUID | None = None) -> None:
        """Takes one row of the callback log, to be sent as an event of its own."""
        if len(self._logs) < MAX_CHANGES:
            self._logs.append(Source(log.request_id, run, log))
        else:
            self._too_many = True
        self._wake.set()

    def publish_event(self, event: str, data: Any) -> None:
        """Sends any other event to every subscriber."""
        self._send([*self._take_logs(), self._message(event, data=dumps(data))])

    def reset(self) -> None:
        """Tells every subscriber to read everything again, because changes may have been missed."""
        self.publish_event("reset", {})

    async def run(self) -> None:
        """Sends what has gathered, until it is cancelled."""
        while True:
            await self._wake.wait()
            self._wake.clear()
            self._send(self._take_messages())
            await asyncio.sleep(GATHER_S)

    def _take_messages(self) -> list[Message]:
        changed, self._changed = self._changed, {}
        if self._too_many:
            self._too_many = False
            self._logs = []
            return [self._message("reset", data=b"{}")]
        messages = self._take_logs()
        if changed:
            messages.append(
                self._message("requests", [Source(item.id, item.run_id, item) for item in changed.values()])
            )
        return messages

    def _take_logs(self) -> list[Message]:
        logs, self._logs = self._logs, []
        return [self._message("callback", [log]) for log in logs]

    def _message(self, event: str, sources: Sequence[Source] = (), *, data: bytes = b"") -> Message:
        self._number += 1
        return Message(self._number, self.last_id, event, sources, data)

    def _send(self, messages: list[Message]) -> None:
        self._ring.extend(messages)
        for view, data in render_messages(messages, self._subscribers).items():
            chunk = Chunk(messages[0].number, data)
            live = [subscriber for subscriber in self._subscribers[view] if subscriber.position is None]
            for subscriber in live:
                subscriber.offer(chunk)
        if self.budget.spent > MAX_QUEUED_BYTES:
            for subscriber in itertools.chain.from_iterable(self._subscribers.values()):
                subscriber.rewind()

    @contextlib.contextmanager
    def subscribe(
        self, last_id: str | None = None, *, request_id: UUID | None = None, run: UUID | None = None
    ) -> Iterator[Subscriber]:
        """Opens a stream: the messages after `last_id`, or a reset when that is no longer known, then new ones."""
        view = View(request_id, run)
        subscriber = Subscriber(view, self.budget, self._replay)
        if last_id:
            # An unknown id is before every message of the ring.
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
        """The number of the message with an id, or one that is before every ring."""
        boot, _, text = last_id.rpartition("-")
        number = int(text) if text.isascii() and text.isdigit() and len(text) < 19 else UNKNOWN
        return number if boot == self.boot and number <= self._number else UNKNOWN

    def _replay(self, subscriber: Subscriber) -> bytes:
        """The next piece of what a subscriber missed; it may be empty before the end is reached."""
        assert subscriber.position is not None
        piece = self._ring.read_after(subscriber.position, subscriber.view)
        if piece is None:
            subscriber.position = None
            return encode(self.last_id, "reset", b"{}")
        subscriber.position = piece.position if piece.position < self._number else None
        return piece.data

    @contextlib.contextmanager
    def end_of(self, request_id: UUID) -> Iterator[asyncio.Future[Request]]:
        """A future of the request's final state, as long as the block lasts."""
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
        """Sends as long as the block lasts."""
        async with in_background(self.run(), names=("hub",)):
            try:
                yield self
            finally:
                self.close()
