"""Bytes on a socket, for requests that no client library would send."""

import asyncio
import contextlib
from dataclasses import dataclass, field
from urllib.parse import urlsplit


@dataclass(frozen=True)
class Reply:
    """What came back: 0 for a connection that was closed without a word."""

    status: int = 0
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""


@contextlib.asynccontextmanager
async def connected(url: str):  # type: ignore[no-untyped-def]
    """A connection to a service."""
    host = urlsplit(url)
    reader, writer = await asyncio.open_connection(host.hostname, host.port)
    try:
        yield reader, writer
    finally:
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()


async def exchange(url: str, data: bytes, *, timeout: float = 10) -> Reply:
    """Sends bytes and reads the first answer."""
    async with connected(url) as (reader, writer), asyncio.timeout(timeout):
        with contextlib.suppress(OSError):
            writer.write(data)
            await writer.drain()
        return await first_reply(reader)


async def first_reply(reader: asyncio.StreamReader) -> Reply:
    """The first answer on a connection, whole."""
    try:
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
    except (OSError, asyncio.IncompleteReadError):
        return Reply()
    first, *lines = head.rstrip().split("\r\n")
    headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines)}
    body = b""
    with contextlib.suppress(OSError, asyncio.IncompleteReadError):
        body = await reader.readexactly(int(headers.get("content-length", "0")))
    return Reply(int(first.split(" ")[1]), headers, body)
