"""A client's connection: the size of request heads, and problems for what cannot be parsed."""

import asyncio
from typing import Any, Final, cast

from aiohttp import web
from aiohttp.http_exceptions import LineTooLong

from reportsim.core.problems import Problem, unavailable
from reportsim.web.limits.client_address import address_key
from reportsim.web.server.raw_responses import encode_response, raw_page, raw_problem, raw_response
from reportsim.web.server.request_head import MAX_HEAD, head_prefers_html, head_problem
from reportsim.web.server.send_buffers import SendBuffers

# How long it is read what the sender of a head that was refused has sent already: unread, it would reset the answer.
LINGER_S: Final = 1.0


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
        elif self._head_size > MAX_HEAD and not self._close and self._stream is not None:
            self.close()
            self._stream.write(encode_response(*self._bare_head_problem()))
            self._loop.call_later(LINGER_S, self._stream.close)

    def _bare_head_problem(self) -> tuple[Problem, dict[str, str], bytes]:
        """What is wrong with a head that is too long, for whoever sent it."""
        head = b"".join(self._head)
        self._head.clear()
        problem = head_problem(head)
        return problem, *(raw_page(self._app, problem) if head_prefers_html(head) else raw_problem(problem))

    def pause_writing(self) -> None:
        """Begins to watch the peer, which has bytes to take."""
        super().pause_writing()
        assert self._stream is not None
        peer = self._stream.get_extra_info("peername")
        self._buffers.add(self._stream, address_key(peer[0] if peer else ""))

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
        """Answers by a problem what aiohttp refuses before any middleware is asked, too."""
        if isinstance(resp, web.HTTPExpectationFailed):
            resp = raw_response(Problem("expectation-failed", "Of all expectations, 100-continue alone can be met."))
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


class RefusedConnection(asyncio.Protocol):
    """Answers one connection too many, whatever it was about to ask."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Writes the problem and closes."""
        stream = cast(asyncio.Transport, transport)
        problem = unavailable("There are as many connections as this service takes.")
        stream.write(encode_response(problem, *raw_problem(problem)))
        stream.close()
