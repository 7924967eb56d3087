"""GET /api/requests: the list, one request, its callback attempts; cancels or redelivers one."""

import itertools

from aiohttp import web

from reportsim.core.json import dumps
from reportsim.core.problems import Problem
from reportsim.schemas.queries import ListQuery, LogsQuery
from reportsim.store import callbacks as callback_store
from reportsim.store import requests as store
from reportsim.web.keys import ENGINE
from reportsim.web.limits.rate_limit import rate_limited
from reportsim.web.pagination import encode_page, make_cursor, next_page_link, read_cursor
from reportsim.web.prefer import read_preferences
from reportsim.web.query_parameters import load_query
from reportsim.web.request_lookup import explain_redelivery_conflict, get_request_or_404, path_id, wait_for_end
from reportsim.web.responses import json_response, progress_headers


async def list_requests(request: web.Request) -> web.Response:
    """One page of requests, newest first."""
    query = load_query(ListQuery(), request)
    filters = store.Filters(**{name: query.get(name) for name in ("status", "mode", "callback_status", "run")})
    before = read_cursor(query["cursor"], filters) if "cursor" in query else None
    rows = await store.page(request.app[ENGINE].pool, filters, before=before, limit=query["limit"] + 1)
    items = list(itertools.islice(encode_page(rows), query["limit"]))
    url: str | None = None
    headers: dict[str, str] = {}
    if len(rows) > len(items):
        cursor = make_cursor(rows[len(items) - 1].id, filters)
        url, headers = next_page_link("/api/requests", request.query, cursor)
    body = b'{"items":[' + b",".join(items) + b'],"next":' + dumps(url) + b"}"
    return web.Response(body=body, content_type="application/json", headers=headers)


async def get_request(request: web.Request) -> web.Response:
    """One request; waits for its end as long as the client prefers."""
    preferred = read_preferences(request)
    row = await get_request_or_404(request.app[ENGINE], path_id(request))
    if preferred.wait and not row.ended:
        row = await wait_for_end(request, row.id, preferred.wait) or await get_request_or_404(
            request.app[ENGINE], row.id
        )
    return json_response(row.as_json(), headers={**preferred.applied_header(wait=True), **progress_headers(row)})


async def get_callback_logs(request: web.Request) -> web.Response:
    """The callback attempts of one request, oldest first."""
    engine = request.app[ENGINE]
    query = load_query(LogsQuery(), request)
    id = path_id(request)
    after = read_cursor(query["cursor"], id) if "cursor" in query else None
    row = await get_request_or_404(engine, id)
    logs = await callback_store.logs(engine.pool, row.id, after=after, limit=query["limit"] + 1)
    items = logs[: query["limit"]]
    url: str | None = None
    headers: dict[str, str] = {}
    if len(logs) > len(items):
        cursor = make_cursor(items[-1].id, id)
        url, headers = next_page_link(f"/api/requests/{id}/callback-logs", request.query, cursor)
    return json_response({"items": [log.as_json() for log in items], "next": url}, headers=headers)


async def cancel_request(request: web.Request) -> web.Response:
    """Cancels a request that has not ended."""
    engine = request.app[ENGINE]
    id = path_id(request)
    cancelled = await engine.changes.cancel(id)
    if cancelled is None:
        row = await get_request_or_404(engine, id)
        raise Problem("conflict", f"The request has ended: {row.status}.")
    return json_response(cancelled.as_json())


@rate_limited("async")
async def redeliver(request: web.Request) -> web.StreamResponse:
    """Starts a new series of callbacks."""
    engine = request.app[ENGINE]
    id = path_id(request)
    started = await engine.changes.redeliver(id)
    if started is None:
        raise Problem("conflict", explain_redelivery_conflict(await get_request_or_404(engine, id)))
    return json_response(started.as_json(), status=202, headers={"Location": f"/api/requests/{id}"})
