"""What asks a service to stop: a signal, or the end of its standard input."""

import asyncio
import contextlib
import logging
import os
import time
from collections.abc import AsyncIterator, Callable
from typing import Final

from reportsim.cli.signals import on_signals
from reportsim.tasks import start

log = logging.getLogger(__name__)

# One press of Ctrl-C arrives twice when make passes it on; what comes within a second is one wish.
SAME_WISH_S: Final = 1.0


@contextlib.asynccontextmanager
async def stopped_by_signals(stop: asyncio.Event, abandon: Callable[[], None]) -> AsyncIterator[None]:
    """The first signal asks for a clean end; one that comes more than a second later ends at once.

    `abandon` stops what must not outlive this process.
    """
    loop = asyncio.get_running_loop()
    first: list[float] = []

    def end(_: int) -> None:
        if not first:
            first.append(time.monotonic())
            loop.call_soon_threadsafe(stop.set)
        elif time.monotonic() - first[0] > SAME_WISH_S:
            # A warning takes along what was logged before it.
            log.warning("told to stop once more: not waiting any longer")
            abandon()
            os._exit(1)

    # Not by the loop, which takes its handlers away before the database is stopped.
    with on_signals(end):
        yield


class EndOfInput(asyncio.Protocol):
    """Sets an event when a stream ends, whatever came before."""

    def __init__(self, end: asyncio.Event) -> None:
        """Watches for one end."""
        self._end = end

    def connection_lost(self, error: Exception | None) -> None:
        """Called at the end of the stream."""
        self._end.set()


@contextlib.asynccontextmanager
async def stopped_by_eof(stop: asyncio.Event) -> AsyncIterator[None]:
    """Stops the service cleanly at the end of standard input: the process that started it has ended."""
    loop = asyncio.get_running_loop()
    # The transport closes what it reads, and the number must not go to another file.
    transport, _ = await loop.connect_read_pipe(lambda: EndOfInput(stop), os.fdopen(os.dup(0), "rb", buffering=0))
    try:
        yield
    finally:
        transport.close()


async def first_of(*events: asyncio.Event) -> None:
    """Waits until any of some events is set."""
    waits = [start(event.wait(), name="event") for event in events]
    await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
    for wait in waits:
        wait.cancel()
