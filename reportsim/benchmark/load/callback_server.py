"""The HTTP/1.1 server to which the callbacks of a run come."""

import asyncio
from typing import Final, Protocol

MOST_HEAD: Final = 64 * 1024
MOST_BODY: Final = 1024 * 1024


class CallbackHandler(Protocol):
    """Takes callbacks."""

    def connected(self, by: int) -> None:
        """A connection came in, or is gone."""
        ...

    def hear(self, path: str, headers: dict[str, str], body: bytes) -> int:
        """Takes a path, headers in lower case and a body; returns the status to answer."""
        ...


class CallbackConnection(asyncio.Protocol):
    """A connection on which callbacks come in."""

    def __init__(self, handler: CallbackHandler) -> None:
        """Hands every callback on."""
        self._handler = handler
        self._transport: asyncio.Transport | None = None
        self._received = bytearray()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Is connected."""
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._handler.connected(+1)

    def connection_lost(self, exc: Exception | None) -> None:
        """Is gone."""
        self._handler.connected(-1)

    def data_received(self, data: bytes) -> None:
        """Reads a callback; when it is whole, answers it."""
        assert self._transport is not None
        self._received += data
        end = self._received.find(b"\r\n\r\n")
        if end < 0:
            if len(self._received) > MOST_HEAD:
                self._transport.abort()
            return
        first, *lines = self._received[:end].decode("latin-1").split("\r\n")
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
        length, path = headers.get("content-length", "0"), first.split(" ")[1:2]
        if not path or not (length.isascii() and length.isdigit() and len(length) < 8) or int(length) > MOST_BODY:
            self._transport.abort()
            return
        whole = end + 4 + int(length)
        if len(self._received) < whole:
            return
        body = bytes(self._received[end + 4 : whole])
        self._received.clear()
        status = self._handler.hear(path[0], headers, body)
        self._transport.write(f"HTTP/1.1 {status} .\r\nContent-Length: 0\r\nConnection: close\r\n\r\n".encode())
        self._transport.close()
