"""GET /api/reports/{file}: conditional and range downloads (RFC 9110), from files named by request id alone."""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from aiohttp import hdrs, web

from reportsim.core.model import Request
from reportsim.core.problems import Problem
from reportsim.reports.files import parse_name
from reportsim.store import requests as store
from reportsim.web.keys import ENGINE

CHUNK: Final = 256 * 1024
RANGE: Final = re.compile(r"bytes=(\d{0,18})-(\d{0,18})", re.ASCII)
TAG: Final = re.compile(r'(?:W/)?"[^"]*"|\*')


@dataclass(frozen=True, slots=True)
class Span:
    """A part of a file: its first byte, and how many."""

    first: int
    length: int


async def download(request: web.Request) -> web.StreamResponse:
    """A report's CSV file."""
    engine = request.app[ENGINE]
    id = parse_name(request.match_info["file"])
    row = await store.get_one(engine.pool, id) if id else None
    if row is None or row.result_payload is None:
        raise Problem("not-found", "There is no such file.")
    return await send(request, row, await engine.remaker.path(row))


async def send(request: web.Request, row: Request, path: Path) -> web.StreamResponse:
    """The file as the request's conditions and range ask for it."""
    assert row.result_payload is not None
    etag = f'"{row.result_payload["sha256"]}"'
    size = row.result_payload["bytes"]
    headers = {
        hdrs.ETAG: etag,
        hdrs.ACCEPT_RANGES: "bytes",
        hdrs.CACHE_CONTROL: "private, max-age=3600, immutable",
        hdrs.CONTENT_DISPOSITION: f'attachment; filename="{row.file}"',
    }
    matches = tags(request, hdrs.IF_MATCH)
    if matches and "*" not in matches and etag not in matches:
        raise Problem("precondition-failed", "The file is not the one that If-Match names.")
    known = {tag.removeprefix("W/") for tag in tags(request, hdrs.IF_NONE_MATCH)}
    if "*" in known or etag in known:
        return web.Response(status=304, headers=headers)
    span = wanted_span(request, etag, size)
    if span is None:
        status, span = 200, Span(0, size)
    else:
        status = 206
        headers[hdrs.CONTENT_RANGE] = f"bytes {span.first}-{span.first + span.length - 1}/{size}"
    response = web.StreamResponse(status=status, headers=headers)
    response.headers[hdrs.CONTENT_TYPE] = "text/csv; charset=utf-8; header=present"
    response.content_length = span.length
    with path.open("rb") as handle:
        await response.prepare(request)
        if request.method != hdrs.METH_HEAD:
            handle.seek(span.first)
            left = span.length
            while left and (chunk := handle.read(min(CHUNK, left))):
                left -= len(chunk)
                await response.write(chunk)
    await response.write_eof()
    return response


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
    match = RANGE.fullmatch(request.headers.get(hdrs.RANGE, ""))
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
