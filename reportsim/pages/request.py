"""The page of one request: its state, its result, its callback attempts, and what can be done with it."""

import contextlib
import json
import shlex
from collections.abc import Sequence
from datetime import datetime
from typing import Any, Final
from uuid import UUID

from aiohttp import hdrs, web
from marshmallow import EXCLUDE, fields, validate
from yarl import URL

from reportsim.api.requests import existing, id_in, load_query, why_not_again
from reportsim.api.submissions import ASYNC, FAILURES, SYNC, new_request, submit_row
from reportsim.core.model import CallbackStatus, Mode, Request
from reportsim.core.problems import Problem
from reportsim.pages.csv_preview import read_preview
from reportsim.pages.request_list import HomeQuery, stream_url
from reportsim.pages.templating import page, render
from reportsim.pages.timeline import draw_timeline
from reportsim.schemas.requests import AsyncSubmission, FailingSubmission, Parsed, Submission, parse, read_submission
from reportsim.store import callbacks as callback_store
from reportsim.web.client_address import limited, raised
from reportsim.web.keys import ENGINE, SETTINGS, SYNC_PLACES

Json = dict[str, Any]

ORIGINAL: Final = web.RequestKey("ORIGINAL", Request)
# The page of a request shows the newest attempts; the API has all of them.
MOST_LOGS: Final = 100


class RequestQuery(HomeQuery):
    """Whether only the live part is asked for."""

    fragment = fields.String(validate=validate.Equal("detail"))


@page
async def show_request(request: web.Request) -> web.StreamResponse:
    """One request: its state, its result, its callback attempts."""
    return await render_request(request)


async def render_request(request: web.Request, problem: Problem | None = None) -> web.Response:
    """The page of a request or its live part, with the problem of a refused action."""
    engine = request.app[ENGINE]
    query = load_query(RequestQuery(unknown=EXCLUDE), request)
    last_event_id = engine.hub.last_id
    row = await existing(engine, id_in(request))
    logs = await callback_store.newest_logs(engine.pool, row.id, MOST_LOGS + 1)
    context = {
        "row": row,
        "logs": logs[-MOST_LOGS:],
        "earlier": len(logs) > MOST_LOGS,
        "next_attempt_at": next_attempt_at(
            row, [log.next_attempt_at for log in logs if log.series == row.callback_series]
        ),
        "attempts": request.app[SETTINGS].callback_attempts,
        "curl": curl_command(request, *original_submission(row)),
        "inbox": URL(row.callback_url or "").path if row.callback_demo else None,
        "timeline": draw_timeline(row, logs, engine.clock.now()),
        "preview": read_preview(engine.files.open(row.id)) if row.result_payload else None,
        "problem": problem,
        "events": stream_url(last_event_id, request_id=row.id),
    }
    template = "partials/detail.html" if "fragment" in query else "request.html"
    response = render(request, template, status=problem.status if problem else 200, **context)
    response.headers.update(problem.headers if problem else {})
    return response


def curl_command(request: web.Request, path: str, body: Json) -> str:
    """A shell command that sends a submission to this service."""
    origin = request.app[SETTINGS].public_url or f"{request.scheme}://{request.host}"
    text = json.dumps(body, ensure_ascii=False)
    return f"curl -sS {shlex.quote(origin + path)} -H 'Content-Type: application/json' -d {shlex.quote(text)}"


def next_attempt_at(row: Request, times: Sequence[datetime | None]) -> datetime | None:
    """When the next callback attempt is due, according to the last one."""
    return times[-1] if times and row.callback_status is CallbackStatus.PENDING else None


def original_submission(row: Request) -> tuple[str, Json]:
    """The endpoint and the body that the request was submitted with."""
    body = dict(row.input_payload)
    if row.mode is Mode.SYNC:
        return SYNC, body
    if row.endpoint == FAILURES:
        script = URL(row.callback_url or "").query.get("script", "")
        return FAILURES, {**body, "script": [step for step in script.split(",") if step]}
    return ASYNC, {**body, **({"callback_url": row.callback_url} if row.callback_url else {})}


@page
async def cancel_request(request: web.Request) -> web.StreamResponse:
    """Cancels a request that has not ended and redirects to it."""
    engine = request.app[ENGINE]
    id = id_in(request)
    if await engine.cancel(id) is None:
        row = await existing(engine, id)
        return await render_request(request, Problem("conflict", f"The request has ended: {row.status}."))
    return redirect_to_request(id)


@page
async def repeat_request(request: web.Request) -> web.StreamResponse:
    """Submits the same request again, under the limits of its endpoint, and redirects to the new one."""
    row = await existing(request.app[ENGINE], id_in(request))
    request[ORIGINAL] = row
    try:
        return await (repeat_sync if row.mode is Mode.SYNC else repeat_async)(request)
    except Problem as problem:
        if problem.slug not in {"invalid-parameters", "quota-exceeded"}:
            raise
        return await render_request(request, problem)


@limited("sync", raised)
async def repeat_sync(request: web.Request) -> web.StreamResponse:
    """Submits a sync request again and waits for its end."""
    _, body = original_submission(request[ORIGINAL])
    return await submit_and_wait(request, parse(Submission, body))


@limited("async", raised)
async def repeat_async(request: web.Request) -> web.StreamResponse:
    """Submits an async request again."""
    endpoint, body = original_submission(request[ORIGINAL])
    schema = FailingSubmission if endpoint == FAILURES else AsyncSubmission
    return await accept(request, parse(schema, body), endpoint)


@page
async def redeliver_callback(request: web.Request) -> web.StreamResponse:
    """Starts a new series of callback attempts and redirects to the request."""
    try:
        return await start_redelivery(request)
    except Problem as problem:
        if problem.slug not in {"conflict", "quota-exceeded"}:
            raise
        return await render_request(request, problem)


@limited("async", raised)
async def start_redelivery(request: web.Request) -> web.StreamResponse:
    """Starts a new series of callback attempts, under the async limits."""
    engine = request.app[ENGINE]
    id = id_in(request)
    if await engine.redeliver(id) is None:
        raise Problem("conflict", why_not_again(await existing(engine, id)))
    return redirect_to_request(id)


async def accept(request: web.Request, parsed: Parsed, endpoint: str) -> web.StreamResponse:
    """Submits an async request and redirects to it."""
    new = new_request(request, await read_submission(request.app[ENGINE], parsed), Mode.ASYNC, endpoint)
    await submit_row(request, parsed, new)
    return redirect_to_request(new.request.id)


async def submit_and_wait(request: web.Request, parsed: Parsed) -> web.StreamResponse:
    """Submits a sync request, waits for its end and redirects to it."""
    engine = request.app[ENGINE]
    new = new_request(request, await read_submission(engine, parsed), Mode.SYNC, SYNC)
    with request.app[SYNC_PLACES].place(), engine.hub.end_of(new.request.id) as ended:
        await submit_row(request, parsed, new)
        # Where no slot was free in time, the page of the request says so.
        with contextlib.suppress(Problem):
            await engine.blocking_end(new.request.id, ended)
    return redirect_to_request(new.request.id)


def redirect_to_request(id: UUID) -> web.Response:
    """A 303 to the page of a request."""
    return web.Response(status=303, headers={hdrs.LOCATION: f"/requests/{id}"})
