"""Listeners made of raw sockets: one that must stay silent, and receivers that say what no HTTP library would."""

import asyncio
import contextlib
import socket
import ssl
import struct
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Final, TypeAlias

from reportsim.core.callback_policy.addresses import AllowList
from reportsim.core.callback_policy.urls import CallbackTarget
from reportsim.engine.delivery.attempt import AttemptResult, attempt
from reportsim.engine.delivery.http_client import Client
from reportsim.engine.delivery.ssrf_guard import SsrfGuard
from tests.ports import free_port

Answer: TypeAlias = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]

# What may be called in these tests; everything else of the loopback network stands for a private network.
PUBLIC: Final = "127.0.0.2"
OPEN: Final = AllowList.parse(PUBLIC)


@dataclass
class Silent:
    """Counts connections, of which there must be none."""

    port: int
    connections: int = 0

    async def accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        writer.close()


@contextlib.asynccontextmanager
async def listening_silently(port: int, *addresses: str) -> AsyncIterator[Silent]:
    """Listens at one port of several addresses; those that this machine lacks are left out."""
    silent = Silent(port)
    async with contextlib.AsyncExitStack() as stack:
        for address in addresses:
            with contextlib.nullcontext() if address == "127.0.0.1" else contextlib.suppress(OSError):
                await stack.enter_async_context(await asyncio.start_server(silent.accept, address, port))
        yield silent
        await asyncio.sleep(0.05)  # whoever connected has been accepted by now


@dataclass
class Raw:
    """A receiver that reads a request's head and then does as it is told."""

    port: int
    answer: Answer
    until: bytes = b"\r\n\r\n"
    heads: list[bytes] = field(default_factory=list)
    tasks: "set[asyncio.Task[None]]" = field(default_factory=set)

    async def accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self.tasks.add(task)
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            self.heads.append(await (reader.readuntil(self.until) if self.until else reader.read(1)))
            await self.answer(reader, writer)
            writer.close()
            await writer.wait_closed()
        writer.transport.abort()
        self.tasks.discard(task)


@contextlib.asynccontextmanager
async def answering(
    answer: Answer, *, host: str = PUBLIC, port: int | None = None, tls: ssl.SSLContext | None = None, **more: Any
) -> AsyncIterator[Raw]:
    """A raw receiver at the address that may be called."""
    raw = Raw(port or free_port(), answer, **more)
    server = await asyncio.start_server(raw.accept, host, raw.port, ssl=tls)
    try:
        yield raw
    finally:
        server.close()
        for task in raw.tasks:
            task.cancel()
        await asyncio.gather(*raw.tasks, return_exceptions=True)
        await asyncio.sleep(0)


def says(*parts: bytes, then: Answer | None = None) -> Answer:
    """Writes some bytes, and goes on or closes."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for part in parts:
            writer.write(part)
            await writer.drain()
        if then is not None:
            await then(reader, writer)

    return answer


def repeats(part: bytes, *, every: float = 0) -> Answer:
    """Writes the same bytes for ever."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            writer.write(part)
            await writer.drain()
            await asyncio.sleep(every)

    return answer


async def hangs(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Says nothing and keeps the connection."""
    await asyncio.sleep(60)


async def resets(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Ends the connection by RST."""
    writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()


async def closes_its_half(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Says that nothing more will come, and keeps the connection."""
    writer.write_eof()
    await asyncio.sleep(60)


def target_of(url: str, allow: AllowList = OPEN) -> CallbackTarget:
    """A URL that may be called."""
    target = SsrfGuard(allow, []).check_url(url)
    assert isinstance(target, CallbackTarget), target
    return target


async def post(session: Client, target: CallbackTarget, *, timeout: float = 5) -> AttemptResult:
    """One attempt."""
    return await attempt(session, target, b"{}", {"webhook-id": "msg_1"}, timeout=timeout, now=datetime.now(UTC))
