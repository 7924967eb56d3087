"""One connection to a receiver: a request goes out, its answer comes in, and then perhaps the next one."""

import asyncio
import contextlib
import socket
import ssl
from collections.abc import Callable
from typing import Final, cast

from reportsim.engine.delivery.response_reader import MOST_HEAD, Body, Head, HeadReader, parse_head, read_body

# Time in which a connection may be closed before its file is needed.
CLOSE_S: Final = 1.0
# Bytes that are taken at once; longer heads are read by the line.
MOST_TAKEN: Final = 4 * 1024
END: Final = b"\r\n\r\n"


class ClosedMeanwhile(Exception):
    """A kept connection was closed by its receiver, which answered nothing to the request."""


class DeadlineExceeded(Exception):
    """The time for an answer is over; no OSError, since nothing has happened to the connection."""


class Reader(asyncio.StreamReader):
    """A stream that says whether anything has arrived that is not read yet, and that never waits after an exception."""

    _buffer: bytearray  # the standard library's
    _eof: bool
    _exception: Exception | None
    _maybe_resume_transport: Callable[[], None]

    async def _wait_for_data(self, func_name: str) -> None:
        # The standard library's passes an exception only to a reader that waits at that moment. One that data have
        # just woken would miss it, and wait for the rest of its line without a deadline.
        if self._exception is not None:
            raise self._exception
        await super()._wait_for_data(func_name)  # type: ignore[misc]

    async def take_head(self) -> Head | None:
        """Takes a head that arrives as one piece and is strict in every line; nothing of any other."""
        if not self._buffer and not self._eof:
            await self._wait_for_data("take_head")
        end = self._buffer.find(END, 0, MOST_TAKEN) + len(END)
        head = parse_head(bytes(self._buffer[:end]))
        if head is not None:
            del self._buffer[:end]
            self._maybe_resume_transport()
        return head

    @property
    def is_drained(self) -> bool:
        """Whether all that has arrived was read."""
        return not self._buffer


class Connection(asyncio.Protocol):
    """A connection to an address that was checked when it was dialed.

    While it is kept for the next request nothing may arrive on it: whatever does, ends it, so that no answer can be
    taken for that to a later request.
    """

    def __init__(self, connected: socket.socket, address: str, until: float, policy: tuple[object, ...]) -> None:
        """Takes a connected socket, to be used until some moment and as long as a policy lasts."""
        self.address = address
        self.until = until
        self.policy = policy
        self._socket = connected
        self._reader = Reader(limit=MOST_HEAD)
        self._is_answering = False
        self._is_kept = False
        self._lost = asyncio.Event()
        self._deadline = 0.0
        self._timer: asyncio.TimerHandle | None = None

    async def open(self, context: ssl.SSLContext | None, host: str) -> None:
        """Makes the connection usable; with a TLS context after a handshake in which the host proves its name."""
        try:
            await asyncio.get_running_loop().create_connection(
                lambda: self, sock=self._socket, ssl=context, server_hostname=host if context else None
            )
        except BaseException:
            self._socket.close()
            raise

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Takes the transport."""
        self._transport = cast(asyncio.Transport, transport)
        self._reader.set_transport(transport)

    def data_received(self, data: bytes) -> None:
        """Takes a part of an answer; without a request there is none."""
        if self._is_kept:
            self.close()
        else:
            self._is_answering = True
            self._reader.feed_data(data)

    def eof_received(self) -> None:
        """Takes the end of what the receiver sends; the connection is then closed."""
        self._reader.feed_eof()

    def connection_lost(self, exc: Exception | None) -> None:
        """Takes the end of the connection; what has arrived before a reset counts all the same."""
        self._lost.set()
        if self._timer is not None:
            self._timer.cancel()
        if isinstance(exc, ssl.SSLError):
            self._reader.set_exception(exc)
        else:
            self._reader.feed_eof()

    async def exchange(self, request: bytes, deadline: float) -> Head:
        """Sends a request and reads the head of its answer; the whole answer has until a moment of the loop's clock.

        The connection is closed when there is no head.

        Raises:
            ClosedMeanwhile: the connection was kept, and has ended before anything was answered.
            BadResponse, OSError, IncompleteReadError: there is no answer.
            DeadlineExceeded: it did not come in time; also of `read_body`.
        """
        was_kept, self._is_kept = self._is_kept, False
        self._is_answering = False
        self._deadline = deadline
        if self._timer is None or self._timer.when() > deadline:
            self._check_deadline()
        try:
            self._transport.write(request)
            return await self._reader.take_head() or await HeadReader(self._reader).read()
        except BaseException as error:
            self.close()
            if was_kept and not self._is_answering and isinstance(error, (OSError, asyncio.IncompleteReadError)):
                raise ClosedMeanwhile from None
            raise

    def _check_deadline(self) -> None:
        """Ends an exchange whose time is over; one timer serves many that end before their time."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        loop = asyncio.get_running_loop()
        if self._lost.is_set() or self._is_kept:
            return
        if loop.time() < self._deadline:
            self._timer = loop.call_at(self._deadline, self._check_deadline)
        else:
            self._reader.set_exception(DeadlineExceeded())

    async def read_body(self, head: Head) -> Body:
        """The body that follows a head."""
        return await read_body(self._reader, head)

    @property
    def is_drained(self) -> bool:
        """Whether all that was sent has gone out, and all that has arrived was read."""
        return self._reader.is_drained and not self._transport.get_write_buffer_size()

    def keep(self) -> None:
        """Says that no answer is expected until the next request."""
        self._is_kept = True

    @property
    def is_silent(self) -> bool:
        """Whether nothing has arrived since the last answer, not even the end; also what the loop has not seen yet."""
        if self._lost.is_set() or self._transport.is_closing():
            return False
        try:
            self._socket.recv(1, socket.MSG_PEEK)
        except BlockingIOError:
            return True
        except OSError:
            return False
        return False

    def close(self) -> None:
        """Ends the connection at once."""
        self._transport.abort()

    async def wait_closed(self) -> None:
        """Waits until the file of a connection that was closed is free."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(CLOSE_S):
                await self._lost.wait()
