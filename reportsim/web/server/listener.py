"""The listening socket: how many connections it accepts, and how long each may be idle."""

import asyncio
import contextlib
import logging
import resource
import socket
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Final

from aiohttp import web

from reportsim.settings import Settings
from reportsim.web.limits.concurrency_limit import MAX_DOWNLOADS
from reportsim.web.server.connection import Connection, RefusedConnection
from reportsim.web.server.handover import HandoverReceiver
from reportsim.web.server.request_head import MAX_HEAD, MAX_HEADERS, MAX_LINE
from reportsim.web.server.send_buffers import SendBuffers, limit_kernel_buffers

log = logging.getLogger(__name__)

BACKLOG: Final = 2048
# Between two requests, and from the start of a connection to the end of its first headers.
IDLE_TIMEOUT_S: Final = 15.0
# File descriptors for everything but client connections: database, reports, callbacks, log, files being sent.
RESERVED_FILES: Final = 1024 + MAX_DOWNLOADS


@dataclass(frozen=True, slots=True)
class MemberSockets:
    """What a process of several has besides its public listening socket."""

    private_listener: socket.socket
    handover: socket.socket
    """From which the first process receives connections, and to which the others send them."""
    is_first: bool


@contextlib.asynccontextmanager
async def serve_app(
    app: web.Application,
    listener: socket.socket,
    settings: Settings,
    *,
    shutdown_s: float,
    member: MemberSockets | None = None,
) -> AsyncIterator[web.Server]:
    """Serves an application on a bound socket as long as the block lasts."""
    # aiohttp waits twice for handlers: once before it cancels their reading, and once after.
    runner = web.AppRunner(app, handler_cancellation=True, shutdown_timeout=shutdown_s / 2)
    buffers = SendBuffers()
    listeners = [listener] if member is None else [listener, member.private_listener]
    for each in listeners:
        limit_kernel_buffers(each)
    try:
        await runner.setup()
        assert runner.server is not None
        first_process = member.handover if member is not None and not member.is_first else None
        factory = ConnectionFactory(
            runner.server, app, buffers, connection_limit(settings.connections_max), first_process
        )
        loop = asyncio.get_running_loop()
        async with contextlib.AsyncExitStack() as stack:
            for each in listeners:
                server = await loop.create_server(factory, sock=each, backlog=BACKLOG)
                stack.callback(server.close)
            stack.push_async_callback(connect_accepted)
            for each in listeners:
                stack.callback(loop.remove_reader, each)
            if member is not None and member.is_first:
                stack.callback(HandoverReceiver(member.handover, factory).close)
            yield runner.server
    finally:
        await runner.cleanup()
        buffers.close()


async def connect_accepted() -> None:
    """Waits until what was accepted has become a connection, once nothing more is accepted.

    asyncio takes two turns of the loop for that. A server that is closed meanwhile leaves the socket open, with nobody
    to close it.
    """
    for _ in range(2):
        await asyncio.sleep(0)


class ConnectionFactory:
    """Makes the protocol of each connection; connections beyond the limit are refused with a 503."""

    def __init__(
        self,
        server: web.Server,
        app: web.Application,
        buffers: SendBuffers,
        limit: int,
        first_process: socket.socket | None = None,
    ) -> None:
        """Takes the server of accepted connections, and the buffers that watch slow readers.

        `first_process` takes over connections that are for the first process of the service.
        """
        self._server = server
        self._app = app
        self._buffers = buffers
        self._limit = limit
        self._room = limit
        self._first_process = first_process

    def __call__(self, received: bytes = b"") -> asyncio.BaseProtocol:
        """The protocol of the next connection; open connections are counted only when the last count is used up."""
        if self._room <= 0:
            self._room = self._limit - len(self._server.connections)
        if self._room <= 0:
            return RefusedConnection()
        self._room -= 1
        return Connection(
            self._server,
            app=self._app,
            buffers=self._buffers,
            first_process=self._first_process,
            received=received,
            loop=asyncio.get_running_loop(),
            access_log=None,
            keepalive_timeout=IDLE_TIMEOUT_S,
            max_line_size=MAX_LINE,
            max_field_size=MAX_HEAD,
            max_headers=MAX_HEADERS,
            # Bodies are decompressed by `read_body`, which bounds their size.
            auto_decompress=False,
        )


def connection_limit(wanted: int) -> int:
    """The number of connections that the limit on open files permits; raises the soft limit as far as needed."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    needed = wanted + RESERVED_FILES
    if soft != resource.RLIM_INFINITY and soft < needed:
        soft = needed if hard == resource.RLIM_INFINITY else min(needed, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    if soft == resource.RLIM_INFINITY:
        return wanted
    # A low limit is divided, so that neither connections nor the rest are left with next to nothing.
    limit = max(min(wanted, soft - min(RESERVED_FILES, soft * 3 // 4)), 1)
    if limit < wanted:
        log.warning("at most %d connections are accepted, since the process may open %d files", limit, soft)
    return limit
