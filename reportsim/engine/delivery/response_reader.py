"""Reading HTTP/1 responses as they come: the status line decides, and nothing behind the head can undo it.

A strict parser refuses whole answers for faults that say nothing about whether a callback was taken: a length that
was counted in characters, a body where none belongs, a chunk that is cut off. Here the head is read within a bound
and understood as far as possible; the body is only an excerpt for the log.
"""

import asyncio
import contextlib
import itertools
import re
import zlib
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from typing import Final

MOST_HEAD: Final = 64 * 1024
MOST_ANSWER: Final = 64 * 1024
EXCERPT: Final = 1_000
# A body whose length cannot be known is given a moment, not the time of the whole attempt.
UNFRAMED_S: Final = 0.25
# What has arrived is read without waiting: others get their turn after so many lines or chunks.
YIELD_EVERY: Final = 200
GZIP_OR_ZLIB: Final = 32 + zlib.MAX_WBITS
SWITCHING: Final = 101

START: Final = b"HTTP/"
STATUS_LINE: Final = re.compile(rb"HTTP/[0-9](?:\.[0-9])? +([1-9][0-9]{2})(?![0-9])", re.IGNORECASE)
CHUNK_SIZE: Final = re.compile(rb"[ \t]*([0-9a-f]{1,16})[ \t]*(?:;.*)?", re.IGNORECASE | re.DOTALL)
LENGTH: Final = re.compile(r"[0-9]{1,18}", re.ASCII)


class BadResponse(Exception):
    """What came is not HTTP/1, or its head has no end within the bound."""


@dataclass(frozen=True, slots=True)
class Head:
    """A final status and the header fields beside it, names in lower case, in their order."""

    status: int
    fields: Sequence[tuple[str, str]]

    def values(self, name: str) -> list[str]:
        """The elements of all fields of a name, which may be lists."""
        found = (value for field, value in self.fields if field == name)
        return [element.strip() for value in found for element in value.split(",")]

    def first(self, name: str) -> str | None:
        """The first field of a name as it stands."""
        return next((value for field, value in self.fields if field == name), None)


class HeadReader:
    """Reads heads until the final one, all of them together within one bound."""

    def __init__(self, reader: asyncio.StreamReader) -> None:
        """Takes a reader whose limit is at least the bound."""
        self._reader = reader
        self._left = MOST_HEAD
        self._lines = 0

    async def read(self) -> Head:
        """The final head; informational ones before it are skipped.

        Raises:
            BadResponse: it is not HTTP, or too long.
            IncompleteReadError: the connection ended before a whole status line.
        """
        while True:
            status = await self._read_status()
            fields = await self._read_fields()
            if status >= 200 or status == SWITCHING:
                return Head(status, fields)

    async def _read_status(self) -> int:
        start = b""
        while len(start) < len(START):
            missing = len(START) - len(start)
            self._spend(missing)
            start = (start + await self._reader.readexactly(missing)).lstrip(b"\r\n")
        if start.upper() != START:
            raise BadResponse("no status line")
        match = STATUS_LINE.match(start + await self._read_line())
        if match is None:
            raise BadResponse("no status line")
        return int(match[1])

    async def _read_fields(self) -> list[tuple[str, str]]:
        fields: list[tuple[str, list[str]]] = []
        # A connection that ends in the fields has said its status.
        with contextlib.suppress(asyncio.IncompleteReadError):
            while line := (await self._read_line()).decode("latin-1").rstrip("\r\n"):
                name, colon, value = line.partition(":")
                if line[0] in " \t" and fields:  # an obsolete fold
                    fields[-1][1].append(line.strip())
                elif colon:
                    fields.append((name.strip().lower(), [value.strip()]))
        return [(name, " ".join(parts).strip()) for name, parts in fields]

    async def _read_line(self) -> bytes:
        try:
            line = await self._reader.readuntil(b"\n")
        except asyncio.LimitOverrunError:
            raise BadResponse("a line without end") from None
        self._spend(len(line))
        self._lines += 1
        if self._lines % YIELD_EVERY == 0:
            await asyncio.sleep(0)
        return line

    def _spend(self, count: int) -> None:
        self._left -= count
        if self._left < 0:
            raise BadResponse("a head without end")


async def read_excerpt(reader: asyncio.StreamReader, head: Head) -> str:
    """Reads the body to its end or up to the bound, and keeps its beginning as text, decompressed.

    An end that comes too early, or a framing that is none, ends the body and is no error; only waiting is up to the
    caller, who sets the time.
    """
    kept = bytearray()
    with contextlib.suppress(asyncio.IncompleteReadError, asyncio.LimitOverrunError, OSError):
        async for piece in pieces(reader, head):
            kept += piece[: MOST_ANSWER - len(kept)]
            if len(kept) >= MOST_ANSWER:
                break
    text = bytes(kept)
    if set(head.values("content-encoding")) & {"gzip", "x-gzip", "deflate"}:
        # What does not decompress is shown as it came: the status alone decides.
        with contextlib.suppress(zlib.error):
            text = zlib.decompressobj(GZIP_OR_ZLIB).decompress(text, EXCERPT)
    return text[:EXCERPT].decode(errors="replace").replace("\0", "\ufffd")


async def pieces(reader: asyncio.StreamReader, head: Head) -> AsyncIterator[bytes]:
    """The body piece by piece, by the framing that its head says; never much more than the bound."""
    if head.status in {SWITCHING, 204, 304}:
        return
    lengths = {value.lower() for value in head.values("content-length")}
    codings = [value.lower() for value in head.values("transfer-encoding") if value.lower() != "identity"]
    if codings and codings[-1] == "chunked":
        async for piece in chunks(reader):
            yield piece
    elif codings or not lengths:
        async for piece in until(reader, MOST_ANSWER):
            yield piece
    elif len(lengths) == 1 and LENGTH.fullmatch(length := lengths.pop()):
        async for piece in until(reader, min(int(length), MOST_ANSWER)):
            yield piece
    else:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(UNFRAMED_S):
                yield await reader.read(MOST_ANSWER)


async def until(reader: asyncio.StreamReader, count: int) -> AsyncIterator[bytes]:
    """So many bytes, or fewer when the connection ends."""
    while count > 0 and (piece := await reader.read(count)):
        count -= len(piece)
        yield piece


async def chunks(reader: asyncio.StreamReader) -> AsyncIterator[bytes]:
    """What is in the chunks, up to the last one or the first that is none; trailers are left unread."""
    left = MOST_ANSWER
    for number in itertools.count(1):
        if left <= 0:
            return
        if number % YIELD_EVERY == 0:
            await asyncio.sleep(0)
        line = await reader.readuntil(b"\n")
        match = CHUNK_SIZE.fullmatch(line.rstrip(b"\r\n"))
        if match is None or not (size := int(match[1], 16)):
            return
        left -= len(line) + size
        async for piece in until(reader, min(size, MOST_ANSWER)):
            yield piece
        await reader.readuntil(b"\n")
