"""A client's connection: the size of request heads, and problems for what cannot be parsed."""

import asyncio
import socket
import time
from typing import Any, Final, cast

from aiohttp import web
from aiohttp.http_exceptions import LineTooLong

from reportsim.core.problems import Problem, unavailable
from reportsim.web.keys import DRAINING
from reportsim.web.limits.client_address import address_key
from reportsim.web.server.handover import hand_over, is_for_first
from reportsim.web.server.raw_responses import encode_response, raw_page, raw_problem, raw_response
from reportsim.web.server.request_head import MAX_HEAD, head_prefers_html, head_problem
from reportsim.web.server.send_buffers import SendBuffers

# After a refused head, what its sender has sent already is read for so long: unread data would reset the connection
# before the response is read.
LINGER_S: Final = 1.0


class Connection(web.RequestHandler):
    """A client's connection; requests that cannot be parsed are answered with a problem as well."""

    __slots__ = ("_app", "_buffers", "_first_process", "_head", "_head_size", "_received", "_stream", "head_at")

    def __init__(
        self,
        server: web.Server,
        *,
        app: web.Application,
        buffers: SendBuffers,
        first_process: socket.socket | None = None,
        received: bytes = b"",
        **options: Any,
    ) -> None:
        """Makes the protocol of a connection; `buffers` watches what its peer does not read.

        `first_process` takes connections over; `received` is what another process has received before.
        """
        super().__init__(server, **options)
        self._first_process = first_process
        self._received = received
        self._app = app
        # The part of the next request's head that has been received while it is incomplete.
        self._head: list[bytes] = []
        self._head_size = 0
        self._buffers = buffers
        self._stream: asyncio.Transport | None = None
        # When the head of the latest request began to arrive, on the monotonic clock.
        self.head_at = 0.0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Makes the transport report every write that its peer does not take at once."""
        self._stream = cast(asyncio.Transport, transport)
        self._stream.set_write_buffer_limits(high=0)
        super().connection_made(transport)
        if self._received:
            received, self._received = self._received, b""
            self.data_received(received)

    def connection_lost(self, exc: BaseException | None) -> None:
        """Stops watching the connection."""
        if self._stream is not None:
            self._buffers.remove(self._stream)
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Receives bytes; a head that exceeds its maximum size is refused."""
        if self._waiter is None and self._request_count:
            super().data_received(data)
            return
        if not self._head and not self._messages:
            self.head_at = time.monotonic()
        self._head.append(data)
        self._head_size += len(data)
        if self._first_process is not None and not self._messages and self._hand_over(self._first_process):
            return
        super().data_received(data)
        if self._messages:
            if hasattr(self._messages[0][0], "headers"):
                self._head.clear()
            self._head_size = 0
        elif self._head_size > MAX_HEAD and not self._close and self._stream is not None:
            self.close()
            self._stream.write(encode_response(*self._bare_head_problem()))
            self._loop.call_later(LINGER_S, self._stream.close)

    def _hand_over(self, first_process: socket.socket) -> bool:
        """Hands a connection between two requests over, if the next one is for the first process."""
        head, stream = b"".join(self._head), self._stream
        if stream is None or not is_for_first(head) or self._app[DRAINING].is_set():
            return False
        if stream.get_write_buffer_size() or not hand_over(
            first_process, stream.get_extra_info("socket").fileno(), head
        ):
            return False
        # The connection itself stays open: the first process has it.
        stream.abort()
        return True

    def _bare_head_problem(self) -> tuple[Problem, dict[str, str], bytes]:
        """The problem of a head that is too long, as a page or JSON as its client prefers."""
        head = b"".join(self._head)
        self._head.clear()
        problem = head_problem(head)
        return problem, *(raw_page(self._app, problem) if head_prefers_html(head) else raw_problem(problem))

    def resume_reading(self, resume_parser: bool = True) -> None:
        """Resumes reading if it was paused; aiohttp asks for it after every body, which would parse nothing again."""
        if self._reading_paused:
            super().resume_reading(resume_parser)

    def pause_writing(self) -> None:
        """Starts watching the peer, which has not read everything."""
        super().pause_writing()
        assert self._stream is not None
        peer = self._stream.get_extra_info("peername")
        self._buffers.add(self._stream, address_key(peer[0] if peer else ""))

    def resume_writing(self) -> None:
        """Stops watching the peer, which has read everything."""
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
        """Answers a request that cannot be parsed; errors outside of every middleware are logged as well."""
        problem = Problem("malformed-request", "The request line or a header cannot be parsed.")
        if status >= 500:
            super().handle_error(request, status, exc, message)
            problem = Problem("internal-error", "The service failed unexpectedly.")
        elif request.writer.output_size > 0:
            raise ConnectionError("the response has started")
        headers, body = raw_problem(problem)
        if isinstance(exc, LineTooLong) or "Too many headers" in str(exc):
            problem, headers, body = self._bare_head_problem()
        self._head.clear()
        response = web.Response(status=problem.status, headers=headers, body=body)
        response.force_close()
        return response

    async def finish_response(
        self, request: web.BaseRequest, resp: web.StreamResponse, start_time: float | None
    ) -> tuple[web.StreamResponse, bool]:
        """Answers with a problem what aiohttp itself refuses before any middleware runs."""
        if isinstance(resp, web.HTTPExpectationFailed):
            resp = raw_response(Problem("expectation-failed", "Only the expectation 100-continue is supported."))
        finished = await super().finish_response(request, resp, start_time)
        if resp.status in {414, 431} and not resp.keep_alive:
            # From now on, received data is read and discarded.
            self.close()
            await asyncio.sleep(LINGER_S)
        return finished

    def log_exception(self, *args: Any, **options: Any) -> None:
        """Logs an exception, except for a body that cannot be decoded, which is an error of the client."""
        if not isinstance(options.get("exc_info"), web.RequestPayloadError):
            super().log_exception(*args, **options)


class RefusedConnection(asyncio.Protocol):
    """Refuses a connection beyond the limit."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Writes the problem and closes the connection."""
        stream = cast(asyncio.Transport, transport)
        problem = unavailable("The service has reached its maximum number of connections.")
        stream.write(encode_response(problem, *raw_problem(problem)))
        stream.close()
