"""HTTP/1.1 as the generator speaks it: as little as the service needs, so that the load costs next to nothing.

There is no pool to wait for: a request takes an idle connection, or a new one.
"""

import asyncio
import functools
import re
import time
from collections.abc import Callable
from typing import Final

from reportsim.tasks import start

LENGTH: Final = re.compile(rb"\r\ncontent-length:[ \t]*([0-9]+)", re.IGNORECASE)
CLOSES: Final = re.compile(rb"\r\nconnection:[ \t]*close", re.IGNORECASE)
# The service closes connections that have been idle for longer; one that is about to close is not written to.
IDLE_S: Final = 8.0
# Longer than the service holds a client that would wait.
ANSWER_S: Final = 60.0
LONGEST_LINE: Final = 1024 * 1024

Answered = Callable[[int | None, bytes], None]
"""Takes the status, None where the connection was lost, and the body."""
Sent = Callable[[], None]
"""Called when the bytes of a request have been handed to the kernel."""


def ignore() -> None:
    """Does nothing."""


class Exchange(asyncio.Protocol):
    """A client's connection: one request at a time."""

    def __init__(self, client: "Client", data: bytes, answered: Answered, sent: Sent) -> None:
        """Sends a first request once it is connected; returns to its client when it is idle."""
        self._client = client
        self._transport: asyncio.Transport | None = None
        self._data = data
        self._sent = sent
        self._answered: Answered | None = answered
        self._received = bytearray()
        self.idle_since = 0.0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Sends the request immediately, because the server may respond and close immediately."""
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        if self._answered is None:  # the client has left meanwhile
            transport.abort()
            return
        transport.write(self._data)
        self._sent()
        self._data = b""

    def begin(self, data: bytes, answered: Answered, sent: Sent) -> None:
        """Sends a request."""
        assert self._transport is not None
        self._answered = answered
        self._transport.write(data)
        sent()

    def data_received(self, data: bytes) -> None:
        """Reads the response; once it is complete, reports it and becomes idle."""
        received = self._received
        received += data
        end = received.find(b"\r\n\r\n")
        if end < 0:
            return
        head = bytes(received[:end])
        length = LENGTH.search(head)
        whole = end + 4 + (int(length[1]) if length else 0)
        if len(received) < whole:
            return
        answered, self._answered = self._answered, None
        body = bytes(received[end + 4 : whole])
        received.clear()
        if CLOSES.search(head):
            self.abort()
        else:
            self._client.give_back(self)
        if answered is not None:
            answered(int(head[9:12]), body)

    def connection_lost(self, exc: Exception | None) -> None:
        """Reports that there will be no response."""
        self._client.forget(self)
        self.fail()

    def fail(self) -> None:
        """Reports that there will be no response."""
        answered, self._answered = self._answered, None
        if answered is not None:
            answered(None, b"")

    def leave(self, answered: Answered) -> None:
        """Gives up one request; one that has its answer leaves the connection to those that came after it."""
        if self._answered is answered:
            self.abort()

    def abort(self) -> None:
        """Closes the connection without reporting it."""
        self._answered = None
        if self._transport is not None:
            self._transport.abort()


class Client:
    """A client of one origin, with as many connections as are in use at once."""

    def __init__(self, host: str, port: int, host_header: str) -> None:
        """Connects when first used."""
        self._host = host
        self._port = port
        self._head = f"Host: {host_header}\r\n"
        self._idle: list[Exchange] = []
        self._opening: set[asyncio.Task[None]] = set()

    def message(self, method: str, path: str, body: bytes = b"", headers: str = "") -> bytes:
        """A request as it is sent; `headers` are whole lines."""
        about = f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n" if body else ""
        return f"{method} {path} HTTP/1.1\r\n{self._head}{about}{headers}\r\n".encode() + body

    def send(self, data: bytes, answered: Answered, sent: Sent = ignore) -> Callable[[], None]:
        """Sends a request; what comes back makes the client leave without waiting any longer."""
        while self._idle:
            exchange = self._idle.pop()
            if time.monotonic() - exchange.idle_since < IDLE_S:
                exchange.begin(data, answered, sent)
                return functools.partial(exchange.leave, answered)
            exchange.abort()
        exchange = Exchange(self, data, answered, sent)
        opening = start(self._open(exchange), name="open")
        self._opening.add(opening)
        opening.add_done_callback(self._opening.discard)

        def leave() -> None:
            opening.cancel()
            exchange.leave(answered)

        return leave

    async def _open(self, exchange: Exchange) -> None:
        try:
            await asyncio.get_running_loop().create_connection(lambda: exchange, self._host, self._port)
        except OSError:
            exchange.fail()

    async def ask(self, data: bytes, within: float = ANSWER_S) -> tuple[int | None, bytes]:
        """Sends a request and waits for its answer; no status where none came in time."""
        answer: asyncio.Future[tuple[int | None, bytes]] = asyncio.get_running_loop().create_future()
        leave = self.send(data, lambda status, body: None if answer.done() else answer.set_result((status, body)))
        try:
            async with asyncio.timeout(within):
                return await answer
        except TimeoutError:
            return None, b""
        finally:
            leave()

    async def connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """A connection of the caller's own, for what has no end."""
        return await asyncio.open_connection(self._host, self._port, limit=LONGEST_LINE)

    def give_back(self, exchange: Exchange) -> None:
        """Takes a connection that is idle."""
        exchange.idle_since = time.monotonic()
        self._idle.append(exchange)

    def forget(self, exchange: Exchange) -> None:
        """Drops a connection that is closed."""
        if exchange in self._idle:
            self._idle.remove(exchange)
