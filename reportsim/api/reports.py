"""GET /api/reports/{file}: downloads of CSV files, with conditions and ranges (RFC 9110)."""

import asyncio
import base64
import logging
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from email.utils import format_datetime, parsedate_to_datetime
from typing import Any, BinaryIO, Final

from aiohttp import hdrs, web

from reportsim.core.model import Request
from reportsim.core.problems import Problem, unavailable
from reportsim.reports.files.folder import parse_name
from reportsim.store import requests as store
from reportsim.web.keys import ENGINE
from reportsim.web.limits.client_address import client_key
from reportsim.web.limits.concurrency_limit import DOWNLOAD_LIMIT

log = logging.getLogger("reportsim.http")

# Larger files are sent in chunks, with the file open, under a concurrency limit.
CHUNK: Final = 256 * 1024
# The time-out of a download: a constant, and more by a minimum transfer rate.
BASE_TIMEOUT_S: Final = 60.0
MIN_BYTES_PER_S: Final = 4096
RANGE: Final = re.compile(r"bytes=(\d{0,18})-(\d{0,18})", re.ASCII | re.IGNORECASE)
TAG: Final = re.compile(r'(?:W/)?"[^"]*"|\*')

# A ledger may have any printable name; one of a file is safe in a header and on every system.
NOT_IN_NAMES: Final = re.compile(r"[^A-Za-z0-9.-]+")
LONGEST_LEDGER: Final = 60
LONGEST_ACCOUNT: Final = 30


@dataclass(frozen=True, slots=True)
class ByteRange:
    """A range of bytes."""

    first: int
    length: int


async def download(request: web.Request) -> web.StreamResponse:
    """The CSV file of a report; conditions are evaluated by the row alone, before the file is opened."""
    engine = request.app[ENGINE]
    id = parse_name(request.match_info["file"])
    row = await store.get_one(engine.pool, id) if id else None
    if row is None or row.result_payload is None:
        raise Problem("not-found", "There is no such file.")
    await engine.regenerator.check(row)
    response, span = prepare_response(request, row)
    if response.status == 304 or request.method == hdrs.METH_HEAD:
        return response
    handle = await engine.regenerator.open(row)
    with handle:
        if span.length <= CHUNK:
            try:
                content = read_range(handle, span)
            except OSError as error:
                log.warning("the file of %s cannot be read: %s", row.id, error)
                raise unavailable("The file cannot be read at the moment.") from None
            return web.Response(status=response.status, headers=response.headers, body=content)
        with request.app[DOWNLOAD_LIMIT].permit(client_key(request)):
            await send(request, response, handle, span)
    return response


def prepare_response(request: web.Request, row: Request) -> tuple[web.StreamResponse, ByteRange]:
    """The response with status and headers by the request's conditions and range, and the range to send.

    Raises:
        Problem: 412 or 416, if a condition or the range cannot be met.
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
        hdrs.CONTENT_DISPOSITION: f'attachment; filename="{download_name(row.input_payload)}"',
    }
    if not precondition_holds(request, etag, modified):
        raise Problem("precondition-failed", "The file does not match the precondition of the request.")
    if is_not_modified(request, etag, modified):
        headers = {name: headers[name] for name in (hdrs.ETAG, hdrs.CACHE_CONTROL)}
        return web.Response(status=304, headers=headers), ByteRange(0, 0)
    span = requested_range(request, etag, size)
    if span is None:
        status, span = 200, ByteRange(0, size)
    else:
        status = 206
        headers[hdrs.CONTENT_RANGE] = f"bytes {span.first}-{span.first + span.length - 1}/{size}"
    response = web.StreamResponse(status=status, headers=headers)
    response.headers[hdrs.CONTENT_TYPE] = "text/csv; charset=utf-8; header=present"
    response.content_length = span.length
    return response, span


def download_name(payload: Mapping[str, Any]) -> str:
    """The name under which a report is saved: what it is, of which ledger, and its days, both of them included."""
    if "as_of" in payload:
        days = [payload["as_of"]]
    else:
        until = date.fromisoformat(payload["to"])
        # No day follows the last one, which is therefore included.
        days = [payload["from"], str(until if until == date.max else until - timedelta(days=1))]
    ledger = NOT_IN_NAMES.sub("-", payload["ledger"])[:LONGEST_LEDGER]
    return "_".join([payload["report_type"].replace("_", "-"), ledger, *days, *variant(payload)]) + ".csv"


def variant(payload: Mapping[str, Any]) -> Iterator[str]:
    """What tells a report from others of the same days: its periods, its comparison, its accounts."""
    if (unit := payload.get("group_by", "none")) != "none":
        yield f"by-{unit}"
    if "compare" in payload:
        yield f"vs-{payload['compare'].replace('_', '-')}"
    if payload.get("include_zero"):
        yield "with-zero"
    if payload.get("cash_only"):
        yield "cash"
    codes: Sequence[str] = payload.get("account_codes", ())
    if len(codes) == 1:
        yield NOT_IN_NAMES.sub("-", codes[0])[:LONGEST_ACCOUNT]
    elif codes:
        yield f"{len(codes)}-accounts"


def read_range(handle: BinaryIO, span: ByteRange) -> bytes:
    """Reads a range of a file.

    Raises:
        OSError: The file is shorter than the range.
    """
    handle.seek(span.first)
    content = handle.read(span.length)
    if len(content) != span.length:
        raise OSError("the report file is truncated")
    return content


async def send(request: web.Request, response: web.StreamResponse, handle: BinaryIO, span: ByteRange) -> None:
    """Sends a range of a file, with a time-out; a client that is too slow can resume with a range."""
    async with asyncio.timeout(BASE_TIMEOUT_S + span.length / MIN_BYTES_PER_S):
        await response.prepare(request)
        for first in range(span.first, span.first + span.length, CHUNK):
            length = min(CHUNK, span.first + span.length - first)
            await response.write(read_range(handle, ByteRange(first, length)))
        await response.write_eof()


def precondition_holds(request: web.Request, etag: str, modified: datetime) -> bool:
    """Whether If-Match, or else If-Unmodified-Since, is met (RFC 9110, section 13.2.2)."""
    if hdrs.IF_MATCH in request.headers:
        return not {"*", etag}.isdisjoint(entity_tags(request, hdrs.IF_MATCH))
    since = parse_date_header(request, hdrs.IF_UNMODIFIED_SINCE)
    return since is None or modified <= since


def is_not_modified(request: web.Request, etag: str, modified: datetime) -> bool:
    """Whether the client has the file already, by If-None-Match or else If-Modified-Since."""
    if hdrs.IF_NONE_MATCH in request.headers:
        known = {tag.removeprefix("W/") for tag in entity_tags(request, hdrs.IF_NONE_MATCH)}
        return not {"*", etag}.isdisjoint(known)
    since = parse_date_header(request, hdrs.IF_MODIFIED_SINCE)
    return since is not None and modified <= since


def parse_date_header(request: web.Request, header: str) -> datetime | None:
    """The date in a header; None if it is not a date, which is treated like a missing header."""
    try:
        moment = parsedate_to_datetime(request.headers.get(header, ""))
    except (ValueError, OverflowError):
        return None
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def entity_tags(request: web.Request, header: str) -> set[str]:
    """The entity tags of a conditional header."""
    return set(TAG.findall(",".join(request.headers.getall(header, []))))


def requested_range(request: web.Request, etag: str, size: int) -> ByteRange | None:
    """The single range that is requested; None for the whole file.

    Multiple ranges, other units and malformed ranges are ignored, and so is a range of another file (If-Range).

    Raises:
        Problem: 416 if the range is beyond the file.
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
    return ByteRange(first, last - first + 1)
