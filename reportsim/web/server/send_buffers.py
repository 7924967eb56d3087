"""What answers keep in memory for clients that do not read: bounded in time, per client and in all.

The kernel is told to hold little that was not sent, so that what a client does not take is seen here.
"""

import asyncio
import socket
import sys
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

# A connection ends when its peer has taken none of the bytes that wait for it for so long.
STALL_S: Final = 20.0
CHECKS_PER_STALL: Final = 20
# Bytes that wait for one client, and for all of them; beyond that, those that have waited longest go.
MAX_BYTES_PER_CLIENT: Final = 16 * 1024 * 1024
MAX_BYTES: Final = 128 * 1024 * 1024
# What the kernel takes of an answer before its peer has taken what came before.
KERNEL_BYTES: Final = 64 * 1024
# Writers with much to say do so in pieces of this size, each of which waits for the one before.
CHUNK: Final = 128 * 1024


@dataclass(eq=False, slots=True)
class PendingOutput:
    """The bytes that wait on one connection, and since when its peer has taken none of them."""

    transport: asyncio.Transport
    client: str
    size: int
    since: float


class SendBuffers:
    """All connections that have bytes waiting; those whose peers stand still, or hold too much, are ended."""

    def __init__(self) -> None:
        """Watches nothing yet."""
        self._waiting: dict[asyncio.Transport, PendingOutput] = {}
        self._total = 0
        self._of_client: Counter[str] = Counter()
        self._look: asyncio.TimerHandle | None = None
        self.ended = 0

    def __len__(self) -> int:
        """How many connections have bytes waiting."""
        return len(self._waiting)

    @property
    def total(self) -> int:
        """The bytes that wait in all, when they were last counted."""
        return self._total

    def add(self, transport: asyncio.Transport, client: str) -> None:
        """Watches a connection whose peer has not taken all that was written."""
        loop = asyncio.get_running_loop()
        self.remove(transport)
        waiting = self._waiting[transport] = PendingOutput(transport, client, 0, loop.time())
        self._count(waiting, transport.get_write_buffer_size())
        if self._total > MAX_BYTES or self._of_client[client] > MAX_BYTES_PER_CLIENT:
            # Not at once: the transport is in the middle of writing.
            loop.call_soon(self._end_those_over_bounds)
        if self._look is None:
            self._look = loop.call_later(STALL_S / CHECKS_PER_STALL, self._end_those_that_stall)

    def remove(self, transport: asyncio.Transport) -> None:
        """Forgets a connection whose peer has taken everything, or is gone."""
        if (waiting := self._waiting.pop(transport, None)) is not None:
            self._count(waiting, 0)

    def close(self) -> None:
        """Stops watching."""
        if self._look is not None:
            self._look.cancel()
            self._look = None

    def _count(self, waiting: PendingOutput, size: int) -> None:
        grown = size - waiting.size
        waiting.size = size
        self._total += grown
        self._of_client[waiting.client] += grown
        if not self._of_client[waiting.client]:
            del self._of_client[waiting.client]

    def _end_those_that_stall(self) -> None:
        loop = asyncio.get_running_loop()
        self._look = None
        for waiting in list(self._waiting.values()):
            size = waiting.transport.get_write_buffer_size()
            if size < waiting.size:
                waiting.since = loop.time()
            self._count(waiting, size)
            if loop.time() - waiting.since >= STALL_S:
                self._end(waiting)
        if self._waiting:
            self._look = loop.call_later(STALL_S / CHECKS_PER_STALL, self._end_those_that_stall)

    def _end_those_over_bounds(self) -> None:
        """Ends connections of clients that hold too much, and while it is too much in all, of those with most."""
        longest_first = sorted(self._waiting.values(), key=lambda waiting: waiting.since)
        self._end_until(longest_first, lambda waiting: self._of_client[waiting.client] > MAX_BYTES_PER_CLIENT)
        if self._total > MAX_BYTES:
            greatest_first = sorted(longest_first, key=lambda waiting: -self._of_client[waiting.client])
            self._end_until(greatest_first, lambda _: self._total > MAX_BYTES)

    def _end_until(self, candidates: list[PendingOutput], is_too_much: Callable[[PendingOutput], bool]) -> None:
        for waiting in candidates:
            if waiting.transport in self._waiting and is_too_much(waiting):
                self._end(waiting)

    def _end(self, waiting: PendingOutput) -> None:
        self.remove(waiting.transport)
        self.ended += 1
        waiting.transport.abort()


def limit_kernel_buffers(listener: socket.socket) -> None:
    """Has the kernel end accepted connections whose peers stand still, and take little for them in advance."""
    if sys.platform == "linux" and listener.family in {socket.AF_INET, socket.AF_INET6}:
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, int(1000 * STALL_S))
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT, KERNEL_BYTES)
