"""The listening socket: how many connections it takes, how long each may be silent, and what is no HTTP at all."""

import asyncio
import contextlib
import socket
import sys
from collections.abc import AsyncIterator
from typing import Final

from aiohttp import web

from reportsim.settings import Settings
from reportsim.web.limits.concurrency_limit import MAX_DOWNLOADS
from reportsim.web.server.connection import Connection, RefusedConnection
from reportsim.web.server.request_head import MAX_HEAD, MAX_HEADERS, MAX_LINE
from reportsim.web.server.send_buffers import SendBuffers, limit_kernel_buffers

if sys.platform != "win32":
    import resource

BACKLOG: Final = 2048
# Between two requests, and from a connection's start to the end of its first headers.
IDLE_TIMEOUT_S: Final = 15.0
# For everything that is no connection of a client: the database's, reports, callbacks, the log, and files being sent.
RESERVED_FILES: Final = 1024 + MAX_DOWNLOADS


@contextlib.asynccontextmanager
async def serve_app(
    app: web.Application, listener: socket.socket, settings: Settings, *, shutdown_s: float
) -> AsyncIterator[web.Server]:
    """Serves an application on a bound socket as long as the block lasts."""
    # aiohttp waits for handlers twice as long: once before it cancels what they read, and once after.
    runner = web.AppRunner(app, handler_cancellation=True, shutdown_timeout=shutdown_s / 2)
    buffers = SendBuffers()
    limit_kernel_buffers(listener)
    try:
        await runner.setup()
        assert runner.server is not None
        door = ConnectionFactory(runner.server, app, buffers, connection_limit(settings.connections_max))
        server = await asyncio.get_running_loop().create_server(door, sock=listener, backlog=BACKLOG)
        try:
            yield runner.server
        finally:
            server.close()
    finally:
        await runner.cleanup()
        buffers.close()


class ConnectionFactory:
    """Lets connections in, as many as there may be, and tells those beyond that to come back."""

    def __init__(self, server: web.Server, app: web.Application, buffers: SendBuffers, most: int) -> None:
        """Takes whoever serves those that are let in, and what watches how they read."""
        self._server = server
        self._app = app
        self._buffers = buffers
        self._most = most
        self._room = most

    def __call__(self) -> asyncio.BaseProtocol:
        """The protocol of the next connection; connections are counted when there seems to be no room left."""
        if self._room <= 0:
            self._room = self._most - len(self._server.connections)
        if self._room <= 0:
            return RefusedConnection()
        self._room -= 1
        return Connection(
            self._server,
            app=self._app,
            buffers=self._buffers,
            loop=asyncio.get_running_loop(),
            access_log=None,
            keepalive_timeout=IDLE_TIMEOUT_S,
            max_line_size=MAX_LINE,
            max_field_size=MAX_HEAD,
            max_headers=MAX_HEADERS,
            # Bodies are decompressed within their bounds, by those who read them.
            auto_decompress=False,
        )


def connection_limit(wanted: int) -> int:
    """The connections that the process has files for, raising its own limit as far as it may."""
    if sys.platform == "win32":
        return wanted
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    needed = wanted + RESERVED_FILES
    if soft != resource.RLIM_INFINITY and soft < needed:
        soft = needed if hard == resource.RLIM_INFINITY else min(needed, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    return wanted if soft == resource.RLIM_INFINITY else max(min(wanted, soft - RESERVED_FILES), 1)
