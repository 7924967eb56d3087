"""GET /api/reports/{file}: conditional and range downloads (RFC 9110), from files named by request id alone."""

import asyncio
import base64
import logging
import re
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import format_datetime, parsedate_to_datetime
from typing import BinaryIO, Final

from aiohttp import hdrs, web

from reportsim.core.model import Request
from reportsim.core.problems import Problem, unavailable
from reportsim.reports.files.folder import parse_name
from reportsim.store import requests as store
from reportsim.web.client_address import client
from reportsim.web.keys import DOWNLOAD_PLACES, ENGINE

log = logging.getLogger("reportsim.http")

# What is longer is sent piece by piece, with the file open; so many may be, in all and of one client.
CHUNK: Final = 256 * 1024
MOST_DOWNLOADS: Final = 128
MOST_DOWNLOADS_EACH: Final = 64
# Seconds that any download may take, and the bytes per second that one must make besides.
LONGEST_S: Final = 60.0
SLOWEST: Final = 4096
RANGE: Final = re.compile(r"bytes=(\d{0,18})-(\d{0,18})", re.ASCII | re.IGNORECASE)
HEADERS: Final = ("ETag", "Last-Modified", "Repr-Digest", "Accept-Ranges", "Content-Disposition")
TAG: Final = re.compile(r'(?:W/)?"[^"]*"|\*')


@dataclass(frozen=True, slots=True)
class Span:
    """A part of a file: its first byte, and how many."""

    first: int
    length: int


async def download(request: web.Request) -> web.StreamResponse:
    """A report's CSV file: conditions are decided by the row alone, and only what is sent needs the file."""
    engine = request.app[ENGINE]
    id = parse_name(request.match_info["file"])
    row = await store.get_one(engine.pool, id) if id else None
    if row is None or row.result_payload is None:
        raise Problem("not-found", "There is no such file.")
    await engine.regenerator.check(row)
    response, span = answer_to(request, row)
    if response.status == 304 or request.method == hdrs.METH_HEAD:
        return response
    handle = await engine.regenerator.open(row)
    with handle:
        if span.length <= CHUNK:
            try:
                content = read(handle, span)
            except OSError as error:
                log.warning("the file of %s cannot be read: %s", row.id, error)
                raise unavailable("The file cannot be read at the moment.") from None
            return web.Response(status=response.status, headers=response.headers, body=content)
        with request.app[DOWNLOAD_PLACES].place(client(request)):
            await send(request, response, handle, span)
    return response


def answer_to(request: web.Request, row: Request) -> tuple[web.StreamResponse, Span]:
    """Status and headers as the request's conditions and range ask for them, and the part of the file to send.

    Raises:
        Problem: 412 or 416, when they cannot be met.
    """
    assert row.result_payload is not None
    assert row.completed_at is not None
    sha256 = row.result_payload["sha256"]
    etag = f'"{sha256}"'
    size = row.result_payload["bytes"]
    modified = row.completed_at.astimezone(UTC).replace(microsecond=0)
    headers = {
        hdrs.ETAG: etag,
        hdrs.LAST_MODIFIED: format_datetime(modified, usegmt=True),
        "Repr-Digest": f"sha-256=:{base64.b64encode(bytes.fromhex(sha256)).decode()}:",
        hdrs.ACCEPT_RANGES: "bytes",
        hdrs.CACHE_CONTROL: "private, max-age=3600, immutable",
        hdrs.CONTENT_DISPOSITION: f'attachment; filename="{row.file}"',
    }
    if not is_wanted(request, etag, modified):
        raise Problem("precondition-failed", "The file is not the one that the request's condition names.")
    if is_known(request, etag, modified):
        kept = {name: headers[name] for name in (hdrs.ETAG, hdrs.CACHE_CONTROL)}
        return web.Response(status=304, headers=kept), Span(0, 0)
    span = wanted_span(request, etag, size)
    if span is None:
        status, span = 200, Span(0, size)
    else:
        status = 206
        headers[hdrs.CONTENT_RANGE] = f"bytes {span.first}-{span.first + span.length - 1}/{size}"
    response = web.StreamResponse(status=status, headers=headers)
    response.headers[hdrs.CONTENT_TYPE] = "text/csv; charset=utf-8; header=present"
    response.content_length = span.length
    return response, span


def read(handle: BinaryIO, span: Span) -> bytes:
    """A part of a file.

    Raises:
        OSError: it cannot be read in its length.
    """
    handle.seek(span.first)
    content = handle.read(span.length)
    if len(content) != span.length:
        raise OSError("the report file was cut")
    return content


async def send(request: web.Request, response: web.StreamResponse, handle: BinaryIO, span: Span) -> None:
    """Sends a part of a file, which a client must take with some speed: it can go on where it was by a range."""
    async with asyncio.timeout(LONGEST_S + span.length / SLOWEST):
        await response.prepare(request)
        for first in range(span.first, span.first + span.length, CHUNK):
            length = min(CHUNK, span.first + span.length - first)
            await response.write(read(handle, Span(first, length)))
        await response.write_eof()


def is_wanted(request: web.Request, etag: str, modified: datetime) -> bool:
    """Whether If-Match, or else If-Unmodified-Since, lets the request be done (RFC 9110, section 13.2.2)."""
    if hdrs.IF_MATCH in request.headers:
        return not {"*", etag}.isdisjoint(tags(request, hdrs.IF_MATCH))
    since = date(request, hdrs.IF_UNMODIFIED_SINCE)
    return since is None or modified <= since


def is_known(request: web.Request, etag: str, modified: datetime) -> bool:
    """Whether If-None-Match, or else If-Modified-Since, says that the client has the file already."""
    if hdrs.IF_NONE_MATCH in request.headers:
        known = {tag.removeprefix("W/") for tag in tags(request, hdrs.IF_NONE_MATCH)}
        return not {"*", etag}.isdisjoint(known)
    since = date(request, hdrs.IF_MODIFIED_SINCE)
    return since is not None and modified <= since


def date(request: web.Request, header: str) -> datetime | None:
    """The moment in a header; None for anything that is no date, which counts as not sent."""
    try:
        moment = parsedate_to_datetime(request.headers.get(header, ""))
    except (ValueError, OverflowError):
        return None
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def tags(request: web.Request, header: str) -> set[str]:
    """The entity tags of a conditional header."""
    return set(TAG.findall(",".join(request.headers.getall(header, []))))


def wanted_span(request: web.Request, etag: str, size: int) -> Span | None:
    """The single range that is asked for and may be given; None for the whole file.

    Several ranges, other units and malformed ranges are ignored, and so is any range of another file (If-Range).

    Raises:
        Problem: 416 when nothing of the range exists.
    """
    if request.method != hdrs.METH_GET:
        return None
    match = RANGE.fullmatch(", ".join(request.headers.getall(hdrs.RANGE, [])))
    condition = request.headers.get(hdrs.IF_RANGE)
    if match is None or (condition is not None and condition != etag) or not (match[1] or match[2]):
        return None
    if not match[1]:
        first, last = max(size - int(match[2]), 0), size - 1
        satisfiable = int(match[2]) > 0 and size > 0
    else:
        first = int(match[1])
        last = min(int(match[2]), size - 1) if match[2] else size - 1
        if match[2] and int(match[2]) < first:
            return None
        satisfiable = first < size
    if not satisfiable:
        raise Problem(
            "range-not-satisfiable",
            f"The file has {size} bytes.",
            headers={hdrs.CONTENT_RANGE: f"bytes */{size}"},
        )
    return Span(first, last - first + 1)
