"""Reading HTTP/1 responses as they come: the status line decides, and nothing behind the head can undo it.

A strict parser refuses whole answers for faults that say nothing about whether a callback was taken: a length that
was counted in characters, a body where none belongs, a chunk that is cut off. Here the head is read within a bound
and understood as far as possible; the body is only an excerpt for the log.
"""

import asyncio
import contextlib
import functools
import itertools
import math
import re
import zlib
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

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
STATUS_LINE: Final = re.compile(rb"HTTP/([0-9](?:\.[0-9])?) +([1-9][0-9]{2})(?![0-9])", re.IGNORECASE)
# Lines that leave no doubt; an answer with any other one in its head is the last of its connection.
STRICT_STATUS_LINE: Final = re.compile(rb"HTTP/1\.[01] [0-9]{3}(?: [^\0\r\n]*)?\r\n")
STRICT_LINE: Final = re.compile(rb"(?:[!#$%&'*+.^_`|~0-9A-Za-z-]+:[^\0\r\n]*)?\r\n")
STRICT_HEAD: Final = re.compile(
    rb"HTTP/(1\.[01]) ([2-9][0-9]{2})(?: [^\0\r\n]*)?\r\n((?:[!#$%&'*+.^_`|~0-9A-Za-z-]+:[^\0\r\n]*\r\n)*)\r\n"
)
SAME_HEADS: Final = 64
CHUNK_SIZE: Final = re.compile(rb"[ \t]*([0-9a-f]{1,16})[ \t]*(?:;.*)?", re.IGNORECASE | re.DOTALL)
LENGTH: Final = re.compile(r"[0-9]{1,18}", re.ASCII)
KEEP_ALIVE: Final = re.compile(r"timeout *= *([0-9]{1,9})", re.ASCII)


class BadResponse(Exception):
    """What came is not HTTP/1, or its head has no end within the bound."""


@dataclass(frozen=True)
class Head:
    """A final status and the header fields beside it: the values of each name in lower case, in their order.

    `is_strict` says that every line of it is as HTTP asks for.
    """

    status: int
    fields: Mapping[str, Sequence[str]]
    version: str
    is_strict: bool

    def values(self, name: str) -> list[str]:
        """The elements of all fields of a name, which may be lists."""
        return [element.strip() for value in self.fields.get(name, ()) for element in value.split(",")]

    def first(self, name: str) -> str | None:
        """The first field of a name as it stands."""
        return next(iter(self.fields.get(name, ())), None)

    @functools.cached_property
    def is_persistent(self) -> bool:
        """Whether the connection stays open after the body; also no when the head leaves a doubt about anything."""
        options = {value.lower() for value in self.values("connection")}
        is_framed_once = len(self.values("content-length")) + len(self.values("transfer-encoding")) <= 1
        is_asked_for = self.version == "1.1" or (self.version == "1.0" and "keep-alive" in options)
        return self.is_strict and is_framed_once and is_asked_for and "close" not in options

    @functools.cached_property
    def keep_alive_s(self) -> float:
        """The seconds for which the receiver says that it keeps the connection; without end when it says nothing."""
        found = (KEEP_ALIVE.fullmatch(value.lower()) for value in self.values("keep-alive"))
        return min((float(match[1]) for match in found if match), default=math.inf)


@functools.lru_cache(SAME_HEADS)
def parse_head(head: bytes) -> Head | None:
    """A whole head that is strict in every line, as most are: what `HeadReader` makes of the same bytes.

    A receiver begins many answers with the same bytes, or with others only when the second of its date has changed.
    """
    found = STRICT_HEAD.fullmatch(head)
    if found is None:
        return None
    version, status, lines = found.groups()
    parts = (line.partition(":") for line in lines.decode("latin-1").split("\r\n")[:-1])
    fields = by_name((name.lower(), value.strip()) for name, _, value in parts)
    return Head(int(status), fields, version.decode(), is_strict=True)


def by_name(fields: Iterable[tuple[str, str]]) -> dict[str, list[str]]:
    """The values of each name."""
    values: dict[str, list[str]] = {}
    for name, value in fields:
        values.setdefault(name, []).append(value)
    return values


class HeadReader:
    """Reads heads until the final one, all of them together within one bound."""

    def __init__(self, reader: asyncio.StreamReader) -> None:
        """Takes a reader whose limit is at least the bound."""
        self._reader = reader
        self._left = MOST_HEAD
        self._lines = 0
        self._is_strict = True

    async def read(self) -> Head:
        """The final head; informational ones before it are skipped.

        Raises:
            BadResponse: it is not HTTP, or too long.
            IncompleteReadError: the connection ended before a whole status line.
        """
        while True:
            version, status = await self._read_status()
            fields = await self._read_fields()
            if status >= 200 or status == SWITCHING:
                return Head(status, fields, version, self._is_strict)

    async def _read_status(self) -> tuple[str, int]:
        start = b""
        while len(start) < len(START):
            missing = len(START) - len(start)
            self._spend(missing)
            start = (start + await self._reader.readexactly(missing)).lstrip(b"\r\n")
        if start.upper() != START:
            raise BadResponse("no status line")
        line = start + await self._read_line()
        match = STATUS_LINE.match(line)
        if match is None:
            raise BadResponse("no status line")
        self._is_strict &= STRICT_STATUS_LINE.fullmatch(line) is not None
        return match[1].decode(), int(match[2])

    async def _read_fields(self) -> dict[str, list[str]]:
        fields: list[tuple[str, list[str]]] = []
        try:
            while line := await self._read_field():
                name, colon, value = line.partition(":")
                if line[0] in " \t" and fields:  # an obsolete fold
                    fields[-1][1].append(line.strip())
                elif colon:
                    fields.append((name.strip().lower(), [value.strip()]))
        except asyncio.IncompleteReadError:
            # A connection that ends in the fields has said its status.
            self._is_strict = False
        return by_name((name, " ".join(parts).strip()) for name, parts in fields)

    async def _read_field(self) -> str:
        line = await self._read_line()
        self._is_strict &= STRICT_LINE.fullmatch(line) is not None
        return line.decode("latin-1").rstrip("\r\n")

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


class Body(NamedTuple):
    """The beginning of a body as text; `is_complete` says that all of it was read, to an end that is beyond doubt."""

    excerpt: str
    is_complete: bool


async def read_body(reader: asyncio.StreamReader, head: Head) -> Body:
    """Reads the body to its end or up to the bound, and keeps its beginning as text, decompressed.

    An end that comes too early, or a framing that is none, ends the body and is no error; only waiting is up to the
    caller, who sets the time.
    """
    if head.status in {SWITCHING, 204, 304}:
        is_said = head.status != SWITCHING and head.first("content-length") in {None, "0"}
        return Body("", is_complete=is_said and head.first("transfer-encoding") is None)
    kept = bytearray()
    body = BodyReader(reader, head)
    with contextlib.suppress(asyncio.IncompleteReadError, asyncio.LimitOverrunError, OSError):
        async for piece in body.pieces():
            kept += piece[: MOST_ANSWER - len(kept)]
            if len(kept) >= MOST_ANSWER:
                break
    text = bytes(kept)
    if set(head.values("content-encoding")) & {"gzip", "x-gzip", "deflate"}:
        # What does not decompress is shown as it came: the status alone decides.
        with contextlib.suppress(zlib.error):
            text = zlib.decompressobj(GZIP_OR_ZLIB).decompress(text, EXCERPT)
    return Body(text[:EXCERPT].decode(errors="replace").replace("\0", "\ufffd"), body.is_complete)


class BodyReader:
    """Reads a body piece by piece, by the framing that its head says; never much more than the bound."""

    def __init__(self, reader: asyncio.StreamReader, head: Head) -> None:
        """Takes what was read of the answer."""
        self._reader = reader
        self._head = head
        self.is_complete = False

    async def pieces(self) -> AsyncIterator[bytes]:
        """The body; `is_complete` afterwards says whether it has ended where its framing says."""
        lengths = self._head.values("content-length")
        codings = [value.lower() for value in self._head.values("transfer-encoding") if value.lower() != "identity"]
        if codings and codings[-1] == "chunked":
            async for piece in self._chunks():
                yield piece
        elif codings or not lengths:
            async for piece in self._until(MOST_ANSWER):
                yield piece
        elif len(set(lengths)) == 1 and LENGTH.fullmatch(lengths[0]):
            length = int(lengths[0])
            async for piece in self._until(min(length, MOST_ANSWER)):
                length -= len(piece)
                yield piece
            self.is_complete = not length
        else:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(UNFRAMED_S):
                    yield await self._reader.read(MOST_ANSWER)

    async def _until(self, count: int) -> AsyncIterator[bytes]:
        """So many bytes, or fewer when the connection ends."""
        while count > 0 and (piece := await self._reader.read(count)):
            count -= len(piece)
            yield piece

    async def _chunks(self) -> AsyncIterator[bytes]:
        """What is in the chunks, up to the last one or the first that is none."""
        left, is_strict = MOST_ANSWER, True
        for number in itertools.count(1):
            if left <= 0:
                return
            if number % YIELD_EVERY == 0:
                await asyncio.sleep(0)
            line = await self._reader.readuntil(b"\n")
            match = CHUNK_SIZE.fullmatch(line.rstrip(b"\r\n"))
            if match is None:
                return
            is_strict &= line.endswith(b"\r\n")
            size = int(match[1], 16)
            if not size:
                self.is_complete = await self._has_last_line() and is_strict
                return
            left -= len(line) + size
            async for piece in self._until(min(size, MOST_ANSWER)):
                yield piece
            is_strict &= await self._reader.readuntil(b"\n") == b"\r\n"

    async def _has_last_line(self) -> bool:
        """Whether the chunks end as they must, which does not take long; trailers are left unread."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(UNFRAMED_S):
                return await self._reader.readuntil(b"\n") == b"\r\n"
        return False
