"""A webhook receiver of somebody else, in the test's own process: it notes, waits or answers as it is told."""

import asyncio
import contextlib
import json
import socket
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web

from reportsim.core.callback_policy.urls import REFUSED_PORTS


@dataclass(frozen=True)
class Arrival:
    """One callback as it came in."""

    path: str
    message_id: str
    attempt: int
    body: bytes

    @property
    def event(self) -> dict[str, Any]:
        event: dict[str, Any] = json.loads(self.body)
        return event

    @property
    def request_id(self) -> str:
        return str(self.event["data"]["id"])


@dataclass
class Receiver:
    """What arrived, and how the next arrivals are answered; status 0 resets the connection."""

    port: int
    status: Callable[[Arrival], int] = lambda _: 204
    holds: set[str] = field(default_factory=set)
    arrivals: list[Arrival] = field(default_factory=list)
    _news: asyncio.Event = field(default_factory=asyncio.Event)
    _released: asyncio.Event = field(default_factory=asyncio.Event)

    def url(self, path: str = "hook", *, host: str = "127.0.0.1") -> str:
        """A URL of this receiver; every address of the loopback network is a destination of its own."""
        return f"http://{host}:{self.port}/{path}"

    def hold(self, *paths: str) -> None:
        """Keeps those waiting who come to some paths from now on."""
        self.holds = set(paths)
        self._released.clear()

    def release(self) -> None:
        """Answers those who were kept waiting, and all from now on."""
        self.holds = set()
        self._released.set()

    async def receive(self, request: web.Request) -> web.Response:
        arrival = Arrival(
            path=request.path.lstrip("/"),
            message_id=request.headers["webhook-id"],
            attempt=int(request.headers["webhook-attempt"]),
            body=await request.read(),
        )
        self.arrivals.append(arrival)
        self._news.set()
        if arrival.path in self.holds:
            await self._released.wait()
        if not (status := self.status(arrival)):
            assert request.transport is not None
            request.transport.abort()
        return web.Response(status=status or 500)

    def at(self, path: str) -> list[Arrival]:
        return [arrival for arrival in self.arrivals if arrival.path == path]

    async def count(self, number: int, path: str | None = None, *, timeout: float = 15) -> list[Arrival]:
        """Waits for a number of arrivals."""
        async with asyncio.timeout(timeout):
            while len(found := self.arrivals if path is None else self.at(path)) < number:
                self._news.clear()
                await self._news.wait()
        return found


@contextlib.asynccontextmanager
async def receiving() -> AsyncIterator[Receiver]:
    """A receiver on a free port of every loopback address that may be called."""
    while True:
        listening = socket.create_server(("0.0.0.0", 0))
        if (port := listening.getsockname()[1]) not in REFUSED_PORTS:
            break
        listening.close()
    receiver = Receiver(port)
    app = web.Application()
    app.router.add_post("/{path:.*}", receiver.receive)
    runner = web.AppRunner(app, access_log=None, handler_cancellation=True, shutdown_timeout=0.1)
    await runner.setup()
    try:
        await web.SockSite(runner, listening).start()
        yield receiver
    finally:
        receiver.release()
        await runner.cleanup()
        listening.close()
