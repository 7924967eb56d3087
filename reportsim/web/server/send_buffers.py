"""Bounds what responses buffer for clients that do not read: in time, per client and in total.

The kernel is configured to buffer little unsent data, so that what a client does not read stays in the process.
"""

import asyncio
import socket
import sys
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from aiohttp import web

# A connection is aborted when its peer has read nothing of its pending output for so long.
STALL_S: Final = 20.0
CHECKS_PER_STALL: Final = 20
# The kernel aborts a connection when its peer acknowledges nothing of what it has sent for so long.
KERNEL_STALL_S: Final = 20.0
# Pending bytes for one client, and in total; beyond that, connections are aborted, the longest pending first.
MAX_BYTES_PER_CLIENT: Final = 16 * 1024 * 1024
MAX_BYTES: Final = 128 * 1024 * 1024
# How much unsent data the kernel accepts for a connection.
KERNEL_BYTES: Final = 64 * 1024
# Large responses are written in chunks of this size, each of which waits for the previous one.
CHUNK: Final = 128 * 1024


@dataclass(eq=False, slots=True)
class PendingOutput:
    """The pending bytes of one connection, and since when its peer has read none of them."""

    transport: asyncio.Transport
    client: str
    size: int
    since: float


class SendBuffers:
    """All connections with pending output; those that stall or that exceed a bound are aborted."""

    def __init__(self) -> None:
        """Starts without connections."""
        self._pending: dict[asyncio.Transport, PendingOutput] = {}
        self._total = 0
        self._per_client: Counter[str] = Counter()
        self._timer: asyncio.TimerHandle | None = None
        self.aborted = 0

    def __len__(self) -> int:
        """The number of connections with pending output."""
        return len(self._pending)

    @property
    def total(self) -> int:
        """The total of pending bytes, as of the last count."""
        return self._total

    def add(self, transport: asyncio.Transport, client: str) -> None:
        """Starts watching a connection whose peer has not read everything."""
        loop = asyncio.get_running_loop()
        self.remove(transport)
        pending = self._pending[transport] = PendingOutput(transport, client, 0, loop.time())
        self._update(pending, transport.get_write_buffer_size())
        if self._total > MAX_BYTES or self._per_client[client] > MAX_BYTES_PER_CLIENT:
            # Not now: the transport is in the middle of writing.
            loop.call_soon(self._abort_over_bounds)
        if self._timer is None:
            self._timer = loop.call_later(STALL_S / CHECKS_PER_STALL, self._abort_stalled)

    def remove(self, transport: asyncio.Transport) -> None:
        """Stops watching a connection whose peer has read everything, or is gone."""
        if (pending := self._pending.pop(transport, None)) is not None:
            self._update(pending, 0)

    def close(self) -> None:
        """Aborts the connections with pending output, which no loop will send any more, and stops watching."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        for pending in list(self._pending.values()):
            self._abort(pending)

    def _update(self, pending: PendingOutput, size: int) -> None:
        grown = size - pending.size
        pending.size = size
        self._total += grown
        self._per_client[pending.client] += grown
        if not self._per_client[pending.client]:
            del self._per_client[pending.client]

    def _abort_stalled(self) -> None:
        loop = asyncio.get_running_loop()
        self._timer = None
        for pending in list(self._pending.values()):
            size = pending.transport.get_write_buffer_size()
            if size < pending.size:
                pending.since = loop.time()
            self._update(pending, size)
            if loop.time() - pending.since >= STALL_S:
                self._abort(pending)
        if self._pending:
            self._timer = loop.call_later(STALL_S / CHECKS_PER_STALL, self._abort_stalled)

    def _abort_over_bounds(self) -> None:
        """Aborts connections of clients over their bound, then of the largest clients while over the total bound."""
        oldest_first = sorted(self._pending.values(), key=lambda pending: pending.since)
        self._abort_while(oldest_first, lambda pending: self._per_client[pending.client] > MAX_BYTES_PER_CLIENT)
        if self._total > MAX_BYTES:
            largest_first = sorted(oldest_first, key=lambda pending: -self._per_client[pending.client])
            self._abort_while(largest_first, lambda _: self._total > MAX_BYTES)

    def _abort_while(self, candidates: list[PendingOutput], exceeds: Callable[[PendingOutput], bool]) -> None:
        for pending in candidates:
            if pending.transport in self._pending and exceeds(pending):
                self._abort(pending)

    def _abort(self, pending: PendingOutput) -> None:
        self.remove(pending.transport)
        self.aborted += 1
        pending.transport.abort()


def limit_kernel_buffers(listener: socket.socket) -> None:
    """Makes the kernel abort stalled connections, and buffer little unsent data for each."""
    if sys.platform == "linux" and listener.family in {socket.AF_INET, socket.AF_INET6}:
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, int(1000 * KERNEL_STALL_S))
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT, KERNEL_BYTES)


async def write_in_chunks(response: web.StreamResponse, data: bytes) -> None:
    """Writes in chunks, each of which waits until the peer has read the previous one."""
    view = memoryview(data)
    for start in range(0, len(data), CHUNK):
        await response.write(view[start : start + CHUNK])
