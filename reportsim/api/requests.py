"""Reading requests: the list, one of them, its callback attempts; and cancelling or redelivering one."""

import asyncio
import base64
import hashlib
import itertools
from collections import Counter
from collections.abc import Iterable, Iterator
from typing import Any, Final
from uuid import UUID

from aiohttp import web
from marshmallow import ValidationError, fields, validate
from yarl import URL

from reportsim.core.json import dumps
from reportsim.core.model import CallbackStatus, Mode, Request, Status
from reportsim.core.problems import Problem, invalid
from reportsim.core.stored_response import server_timing
from reportsim.engine.engine import Engine
from reportsim.reports.fields import UUID_FORM, Digits, Identifier
from reportsim.schemas.requests import Strict
from reportsim.store import callbacks as callback_store
from reportsim.store import requests as store
from reportsim.tasks import start
from reportsim.web.client_address import limited
from reportsim.web.keys import DRAINING, ENGINE
from reportsim.web.prefer import preferences

LARGEST_PAGE: Final = 200
DEFAULT_PAGE: Final = 50
CHECK_BYTES: Final = 8


class ListQuery(Strict):
    """The parameters of the list."""

    limit = Digits(load_default=DEFAULT_PAGE, validate=validate.Range(1, LARGEST_PAGE))
    cursor = fields.String(
        metadata={"description": "Where the last page ended, from `next`.", "pattern": r"[A-Za-z0-9_-]+"}
    )
    status = fields.String(validate=validate.OneOf(list(Status)))
    mode = fields.String(validate=validate.OneOf(list(Mode)))
    callback_status = fields.String(validate=validate.OneOf(list(CallbackStatus)))
    run = Identifier(metadata={"description": "Only the requests of this benchmark run, which are left out otherwise."})


class LogsQuery(Strict):
    """The parameters of the callback attempts; as long a page as there is, unless a shorter one is asked for."""

    limit = Digits(load_default=LARGEST_PAGE, validate=validate.Range(1, LARGEST_PAGE))
    cursor = fields.String(
        metadata={"description": "Where the last page ended, from `next`.", "pattern": r"[A-Za-z0-9_-]+"}
    )


def json_response(value: Any, *, status: int = 200, headers: dict[str, str] | None = None) -> web.Response:
    """JSON as this service writes it."""
    return web.Response(status=status, body=dumps(value), content_type="application/json", headers=headers)


def load_query(schema: Strict, request: web.Request) -> dict[str, Any]:
    """The query parameters, each given once.

    Raises:
        Problem: 422, naming every parameter that is wrong.
    """
    errors = [
        {"detail": "Given more than once.", "parameter": name}
        for name, times in Counter(name for name, _ in request.query.items()).items()
        if times > 1
    ]
    data: dict[str, Any] = {}
    try:
        data = schema.load(dict(request.query))
    except ValidationError as error:
        assert isinstance(error.messages, dict)
        errors += [{"detail": text, "parameter": str(name)} for name, texts in error.messages.items() for text in texts]
    if errors:
        raise invalid(errors, "Some query parameters are not valid.")
    return data


async def list_requests(request: web.Request) -> web.Response:
    """One page of requests, newest first."""
    query = load_query(ListQuery(), request)
    filters = store.Filters(**{name: query.get(name) for name in ("status", "mode", "callback_status", "run")})
    before = read_cursor(query["cursor"], filters) if "cursor" in query else None
    rows = await store.page(request.app[ENGINE].pool, filters, before=before, limit=query["limit"] + 1)
    items = list(itertools.islice(encode_within_bounds(rows), query["limit"]))
    url = None
    headers = {}
    if len(rows) > len(items):
        parameters = {**request.query, "cursor": make_cursor(rows[len(items) - 1].id, filters)}
        url = str(URL("/api/requests").with_query(parameters))
        headers = {"Link": f'<{url}>; rel="next"'}
    body = b'{"items":[' + b",".join(items) + b'],"next":' + dumps(url) + b"}"
    return web.Response(body=body, content_type="application/json", headers=headers)


def encode_within_bounds(rows: Iterable[Request]) -> Iterator[bytes]:
    """The JSON of the first of some rows, at least of one, that an answer of bounded size has room for."""
    size = 0
    for row in rows:
        item = dumps(row.as_json())
        size += len(item)
        if size > store.PAGE_BYTES and size > len(item):
            return
        yield item


def make_cursor(last: UUID, filters: store.Filters | UUID) -> str:
    """An opaque position: the last id seen, and a hash of it with the filters, or the id of what the list is of."""
    return base64.urlsafe_b64encode(last.bytes + check(last.bytes, filters)).decode().rstrip("=")


def read_cursor(text: str, filters: store.Filters | UUID) -> UUID:
    """The id in a cursor that these filters made.

    Raises:
        Problem: 400 for any other text.
    """
    try:
        raw = base64.urlsafe_b64decode(text.encode("ascii") + b"=" * (-len(text) % 4))
    except ValueError:
        raw = b""
    # Decoding passes over what is no base64; made again, a cursor is the same text.
    if len(raw) != 16 + CHECK_BYTES or make_cursor(last := UUID(bytes=raw[:16]), filters) != text:
        raise Problem("invalid-cursor", "The cursor does not belong to this list and these filters.")
    return last


def check(id: bytes, filters: store.Filters | UUID) -> bytes:
    """Ties an id to the filters."""
    return hashlib.sha256(id + repr(filters).encode()).digest()[:CHECK_BYTES]


def id_in(request: web.Request, kind: str = "request") -> UUID:
    """The id in the path; anything else is simply not there."""
    text = request.match_info["id"]
    if not UUID_FORM.fullmatch(text):
        raise not_found(kind)
    return UUID(text)


def not_found(kind: str = "request") -> Problem:
    """The 404 of a request, or of another kind of thing that has an id."""
    return Problem("not-found", f"There is no such {kind}.")


async def existing(engine: Engine, id: UUID) -> Request:
    """A request that must be there."""
    row = await store.get_one(engine.pool, id)
    if row is None:
        raise not_found()
    return row


async def get_request(request: web.Request) -> web.Response:
    """One request, with a hint when to look again while it has not ended; held while the client would wait."""
    preferred = preferences(request)
    row = await existing(request.app[ENGINE], id_in(request))
    if preferred.wait and not row.ended:
        row = await held(request, row.id, preferred.wait) or await existing(request.app[ENGINE], row.id)
    return json_response(row.as_json(), headers={**preferred.applied(wait=True), **progress_headers(row)})


def progress_headers(row: Request) -> dict[str, str]:
    """When to look again while a request has not ended; afterwards, where its time went."""
    return {"Server-Timing": server_timing(row)} if row.ended else {"Retry-After": "1"}


async def held(request: web.Request, id: UUID, seconds: float) -> Request | None:
    """Waits for a request's end, at most some seconds and never into a shutdown; None while it has not ended."""
    engine = request.app[ENGINE]
    with engine.hub.end_of(id) as ended:
        row = await store.get_one(engine.pool, id)
        if row is not None and not row.ended:
            stopping = start(request.app[DRAINING].wait(), name="draining")
            try:
                waits: set[asyncio.Future[Any]] = {ended, stopping}
                await asyncio.wait(waits, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
            finally:
                stopping.cancel()
            row = await store.get_one(engine.pool, id)
    return row if row is not None and row.ended else None


async def get_callback_logs(request: web.Request) -> web.Response:
    """The callback attempts of one request, oldest first."""
    engine = request.app[ENGINE]
    query = load_query(LogsQuery(), request)
    id = id_in(request)
    after = read_cursor(query["cursor"], id) if "cursor" in query else None
    row = await existing(engine, id)
    logs = await callback_store.logs(engine.pool, row.id, after=after, limit=query["limit"] + 1)
    items = logs[: query["limit"]]
    url = None
    headers = {}
    if len(logs) > len(items):
        parameters = {**request.query, "cursor": make_cursor(items[-1].id, id)}
        url = str(URL(f"/api/requests/{id}/callback-logs").with_query(parameters))
        headers = {"Link": f'<{url}>; rel="next"'}
    return json_response({"items": [log.as_json() for log in items], "next": url}, headers=headers)


async def cancel_request(request: web.Request) -> web.Response:
    """Ends a request that has not ended."""
    engine = request.app[ENGINE]
    id = id_in(request)
    cancelled = await engine.changes.cancel(id)
    if cancelled is None:
        row = await existing(engine, id)
        raise Problem("conflict", f"The request has ended: {row.status}.")
    return json_response(cancelled.as_json())


@limited("async")
async def redeliver(request: web.Request) -> web.StreamResponse:
    """Starts a new series of callbacks."""
    engine = request.app[ENGINE]
    id = id_in(request)
    started = await engine.changes.redeliver(id)
    if started is None:
        raise Problem("conflict", why_not_again(await existing(engine, id)))
    return json_response(started.as_json(), status=202, headers={"Location": f"/api/requests/{id}"})


def why_not_again(row: Request) -> str:
    """Why no new series of callbacks was started."""
    if row.callback_url is None:
        return "It has no callback URL."
    if row.callback_status is CallbackStatus.PENDING:
        return "Its callback has not ended yet."
    return f"It has been called back in {callback_store.MAX_SERIES} series, which is the most."


async def list_ledgers(request: web.Request) -> web.Response:
    """Every ledger with its window and size."""
    ledgers = await request.app[ENGINE].ledgers.all()
    return json_response({"items": [ledger.as_json() for ledger in ledgers]})
