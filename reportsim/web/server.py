"""The listening socket: how many connections it takes, and how long each may be silent."""

import asyncio
import contextlib
import socket
import sys
from collections.abc import AsyncIterator
from typing import Final, cast

from aiohttp import web

from reportsim.core.encoding import dumps
from reportsim.core.problems import unavailable
from reportsim.settings import Settings
from reportsim.web.middleware import PROBLEM, SECURITY

if sys.platform != "win32":
    import resource

BACKLOG: Final = 2048
# Between two requests, and from a connection's start to the end of its first headers.
SILENT_S: Final = 15.0
# For everything that is no connection of a client: the database's, reports, callbacks, the log.
SPARE_FILES: Final = 768


@contextlib.asynccontextmanager
async def served(
    app: web.Application, listener: socket.socket, settings: Settings, *, shutdown_s: float
) -> AsyncIterator[web.Server]:
    """Serves an application on a bound socket as long as the block lasts."""
    runner = web.AppRunner(
        app,
        handler_cancellation=True,
        access_log=None,
        keepalive_timeout=SILENT_S,
        shutdown_timeout=shutdown_s,
    )
    try:
        await runner.setup()
        assert runner.server is not None
        door = Door(runner.server, allowed_connections(settings.connections_max))
        server = await asyncio.get_running_loop().create_server(door, sock=listener, backlog=BACKLOG)
        try:
            yield runner.server
        finally:
            server.close()
    finally:
        await runner.cleanup()


class Door:
    """Lets connections in, as many as there may be, and tells those beyond that to come back."""

    def __init__(self, server: web.Server, most: int) -> None:
        """Takes whoever serves those that are let in."""
        self._server = server
        self._most = most
        self._room = most

    def __call__(self) -> asyncio.BaseProtocol:
        """The protocol of the next connection; connections are counted when there seems to be no room left."""
        if self._room <= 0:
            self._room = self._most - len(self._server.connections)
        if self._room <= 0:
            return Full()
        self._room -= 1
        return self._server()


class Full(asyncio.Protocol):
    """Answers one connection too many, whatever it was about to ask."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Writes the problem and closes."""
        stream = cast(asyncio.Transport, transport)
        problem = unavailable("There are as many connections as this service takes.")
        body = dumps(problem.as_json())
        headers = {
            "Content-Type": PROBLEM,
            "Content-Length": str(len(body)),
            "Connection": "close",
            "Cache-Control": "no-store",
            **problem.headers,
            **SECURITY,
        }
        lines = ["HTTP/1.1 503 Service Unavailable", *(f"{name}: {value}" for name, value in headers.items())]
        stream.write("\r\n".join([*lines, "", ""]).encode() + body)
        stream.close()


def allowed_connections(wanted: int) -> int:
    """The connections that the process has files for, raising its own limit as far as it may."""
    if sys.platform == "win32":
        return wanted
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    needed = wanted + SPARE_FILES
    if soft != resource.RLIM_INFINITY and soft < needed:
        soft = needed if hard == resource.RLIM_INFINITY else min(needed, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    return wanted if soft == resource.RLIM_INFINITY else max(min(wanted, soft - SPARE_FILES), 1)
