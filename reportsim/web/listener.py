"""The listening socket: how many connections it takes, how long each may be silent, and what is no HTTP at all."""

import asyncio
import contextlib
import socket
import sys
from collections.abc import AsyncIterator
from http import HTTPStatus
from typing import Any, Final, cast

from aiohttp import hdrs, web
from aiohttp.http_exceptions import LineTooLong

from reportsim.api.reports import MOST_DOWNLOADS
from reportsim.core.json import dumps
from reportsim.core.problems import Problem, unavailable
from reportsim.pages.templating import bare_page
from reportsim.settings import Settings
from reportsim.web.middleware import API_POLICY, PAGE_POLICY, PAGE_SECURITY, PROBLEM, SECURITY
from reportsim.web.rate_limit import bucket_key
from reportsim.web.request_head import LONGEST_LINE, MOST_HEAD, MOST_HEADERS, head_likes_pages, head_problem
from reportsim.web.send_buffers import SendBuffers, bound_kernel

if sys.platform != "win32":
    import resource

BACKLOG: Final = 2048
# Between two requests, and from a connection's start to the end of its first headers.
SILENT_S: Final = 15.0
# How long it is read what the sender of a head that was refused has sent already: unread, it would reset the answer.
LINGER_S: Final = 1.0
# For everything that is no connection of a client: the database's, reports, callbacks, the log, and files being sent.
SPARE_FILES: Final = 1024 + MOST_DOWNLOADS


@contextlib.asynccontextmanager
async def served(
    app: web.Application, listener: socket.socket, settings: Settings, *, shutdown_s: float
) -> AsyncIterator[web.Server]:
    """Serves an application on a bound socket as long as the block lasts."""
    # aiohttp waits for handlers twice as long: once before it cancels what they read, and once after.
    runner = web.AppRunner(app, handler_cancellation=True, shutdown_timeout=shutdown_s / 2)
    buffers = SendBuffers()
    bound_kernel(listener)
    try:
        await runner.setup()
        assert runner.server is not None
        door = Door(runner.server, app, buffers, allowed_connections(settings.connections_max))
        server = await asyncio.get_running_loop().create_server(door, sock=listener, backlog=BACKLOG)
        try:
            yield runner.server
        finally:
            server.close()
    finally:
        await runner.cleanup()
        buffers.close()


class Door:
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
            return Full()
        self._room -= 1
        return Connection(
            self._server,
            app=self._app,
            buffers=self._buffers,
            loop=asyncio.get_running_loop(),
            access_log=None,
            keepalive_timeout=SILENT_S,
            max_line_size=LONGEST_LINE,
            max_field_size=MOST_HEAD,
            max_headers=MOST_HEADERS,
            # Bodies are decompressed within their bounds, by those who read them.
            auto_decompress=False,
        )


class Connection(web.RequestHandler):
    """A client's connection, on which even what is no HTTP is answered by a problem."""

    __slots__ = ("_app", "_buffers", "_head", "_head_size", "_stream")

    def __init__(self, server: web.Server, *, app: web.Application, buffers: SendBuffers, **options: Any) -> None:
        """Makes the protocol of a connection; `buffers` learns what its peer does not read."""
        super().__init__(server, **options)
        self._app = app
        # What has come of the next request's head while that is not whole.
        self._head: list[bytes] = []
        self._head_size = 0
        self._buffers = buffers
        self._stream: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Has the transport say whenever its peer does not take all at once."""
        self._stream = cast(asyncio.Transport, transport)
        self._stream.set_write_buffer_limits(high=0)
        super().connection_made(transport)

    def connection_lost(self, exc: BaseException | None) -> None:
        """Ends what belongs to the connection."""
        if self._stream is not None:
            self._buffers.remove(self._stream)
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Takes bytes; while they are of a head, no more of them than heads may have."""
        if self._waiter is None and self._request_count:
            super().data_received(data)
            return
        self._head.append(data)
        self._head_size += len(data)
        super().data_received(data)
        if self._messages:
            if hasattr(self._messages[0][0], "headers"):
                self._head.clear()
            self._head_size = 0
        elif self._head_size > MOST_HEAD and not self._close and self._stream is not None:
            self.close()
            self._stream.write(as_text(*self._bare_head_problem()))
            self._loop.call_later(LINGER_S, self._stream.close)

    def _bare_head_problem(self) -> tuple[Problem, dict[str, str], bytes]:
        """What is wrong with a head that is too long, for whoever sent it."""
        head = b"".join(self._head)
        self._head.clear()
        problem = head_problem(head)
        return problem, *(bare_page_of(self._app, problem) if head_likes_pages(head) else bare(problem))

    def pause_writing(self) -> None:
        """Begins to watch the peer, which has bytes to take."""
        super().pause_writing()
        assert self._stream is not None
        peer = self._stream.get_extra_info("peername")
        self._buffers.add(self._stream, bucket_key(peer[0] if peer else ""))

    def resume_writing(self) -> None:
        """Stops watching the peer, which has taken everything."""
        super().resume_writing()
        assert self._stream is not None
        self._buffers.remove(self._stream)

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> web.StreamResponse:
        """Says that the request cannot be read; errors of ours, beyond every middleware, go to the log as well."""
        problem = Problem("malformed-request", "The request line or a header cannot be read.")
        if status >= 500:
            super().handle_error(request, status, exc, message)
            problem = Problem("internal-error", "The service failed unexpectedly.")
        elif request.writer.output_size > 0:
            raise ConnectionError("an answer has begun")
        headers, body = bare(problem)
        if isinstance(exc, LineTooLong) or "Too many headers" in str(exc):
            problem, headers, body = self._bare_head_problem()
        self._head.clear()
        response = web.Response(status=problem.status, headers=headers, body=body)
        response.force_close()
        return response

    async def finish_response(
        self, request: web.BaseRequest, resp: web.StreamResponse, start_time: float | None
    ) -> tuple[web.StreamResponse, bool]:
        """Answers by a problem what aiohttp refuses before any middleware is asked, too."""
        if isinstance(resp, web.HTTPExpectationFailed):
            resp = bare_response(Problem("expectation-failed", "Of all expectations, 100-continue alone can be met."))
        finished = await super().finish_response(request, resp, start_time)
        if resp.status in {414, 431} and not resp.keep_alive:
            # From now on, what comes is read and not looked at.
            self.close()
            await asyncio.sleep(LINGER_S)
        return finished

    def log_exception(self, *args: Any, **options: Any) -> None:
        """A body that cannot be decoded is its sender's affair, and no news."""
        if not isinstance(options.get("exc_info"), web.RequestPayloadError):
            super().log_exception(*args, **options)


def bare_response(problem: Problem) -> web.Response:
    """A problem outside of every middleware."""
    headers, body = bare(problem)
    return web.Response(status=problem.status, headers=headers, body=body)


class Full(asyncio.Protocol):
    """Answers one connection too many, whatever it was about to ask."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Writes the problem and closes."""
        stream = cast(asyncio.Transport, transport)
        problem = unavailable("There are as many connections as this service takes.")
        stream.write(as_text(problem, *bare(problem)))
        stream.close()


def as_text(problem: Problem, headers: dict[str, str], body: bytes) -> bytes:
    """An answer as it is sent, after which the connection ends."""
    headers = headers | {hdrs.CONTENT_LENGTH: str(len(body)), hdrs.CONNECTION: "close"}
    head = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    return f"HTTP/1.1 {problem.status} {HTTPStatus(problem.status).phrase}\r\n{head}\r\n".encode() + body


def bare_page_of(app: web.Application, problem: Problem) -> tuple[dict[str, str], bytes]:
    """Headers and body of a page for people that no request came with."""
    headers, _ = bare(problem)
    headers |= {
        **PAGE_SECURITY,
        hdrs.CONTENT_TYPE: "text/html; charset=utf-8",
        "Content-Security-Policy": PAGE_POLICY,
    }
    return headers, bare_page(app, problem)


def bare(problem: Problem) -> tuple[dict[str, str], bytes]:
    """Headers and body of a problem that no request came with."""
    headers = {
        **SECURITY,
        **problem.headers,
        hdrs.CONTENT_TYPE: PROBLEM,
        hdrs.CACHE_CONTROL: "no-store",
        "Content-Security-Policy": API_POLICY,
    }
    return headers, dumps(problem.as_json())


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
