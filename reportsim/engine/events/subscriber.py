"""A subscriber: one open stream, with a bounded queue."""

import asyncio
import contextlib
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

from reportsim.engine.events.messages import View

MAX_CHUNKS: Final = 200
MAX_BYTES: Final = 4_000_000
# Bytes that are handed out at once.
PIECE: Final = 64 * 1024


@dataclass(eq=False, slots=True)
class Chunk:
    """Bytes of messages as one view shows them, the same for all of its subscribers."""

    first: int
    """The number of the first of the messages."""
    data: bytes
    readers: int = 0
    """In how many queues it is."""


class Budget:
    """The bytes that all queues together hold; a chunk in several queues counts once."""

    def __init__(self) -> None:
        """Counts nothing yet."""
        self.spent = 0

    def keep(self, chunk: Chunk) -> None:
        """Counts a chunk when the first queue takes it."""
        if not chunk.readers:
            self.spent += len(chunk.data)
        chunk.readers += 1

    def release(self, chunk: Chunk) -> None:
        """Stops counting a chunk when the last queue has released it."""
        chunk.readers -= 1
        if not chunk.readers:
            self.spent -= len(chunk.data)


@dataclass(eq=False, slots=True)
class Subscriber:
    """One open stream: its position in the ring while it catches up, then a bounded queue."""

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
        """Queues bytes; a reader too slow for the bounds is disconnected, and resumes by its last id."""
        if len(self.queue) >= MAX_CHUNKS or (self.queue and self.queued + len(chunk.data) > MAX_BYTES):
            self.close()
        if not self.closed:
            self.budget.keep(chunk)
            self.queue.append(chunk)
            self.queued += len(chunk.data)
            self.wake.set()

    def rewind(self) -> None:
        """Empties the queue; its messages are read from the ring again, or are a reset when the ring has lost them."""
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
