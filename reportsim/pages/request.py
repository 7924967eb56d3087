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

from reportsim.core.model import CallbackStatus, Mode, Request
from reportsim.core.problems import Problem
from reportsim.pages.request_list import HomeQuery
from reportsim.pages.statement.load import load_statement
from reportsim.pages.statement.notes import list_notes
from reportsim.pages.timeline import draw_timeline
from reportsim.reports.fields import Digits
from reportsim.schemas.events import stream_url
from reportsim.schemas.submission_parser import ParsedBody, parse_body
from reportsim.schemas.submissions import AsyncSubmission, FailingSubmission, Submission
from reportsim.store import callbacks as callback_store
from reportsim.web.keys import ENGINE, SETTINGS
from reportsim.web.limits.concurrency_limit import SYNC_LIMIT
from reportsim.web.limits.rate_limit import raise_refusal, rate_limited
from reportsim.web.query_parameters import load_query
from reportsim.web.request_lookup import explain_redelivery_conflict, get_request_or_404, path_id
from reportsim.web.submission import ASYNC_PATH, FAILURES_PATH, SYNC_PATH, complete_submission, new_request, submit_row
from reportsim.web.templating import html_page, render

Json = dict[str, Any]

ORIGINAL: Final = web.RequestKey("ORIGINAL", Request)
# The page of a request shows the newest attempts; the API has all of them.
MOST_LOGS: Final = 100


class RequestQuery(HomeQuery):
    """Whether only the live part is asked for, and the page of the statement."""

    fragment = fields.String(validate=validate.Equal("detail"))
    page = Digits(load_default=1, validate=validate.Range(1))


@html_page
async def show_request(request: web.Request) -> web.StreamResponse:
    """One request: its state, its result, its callback attempts."""
    return await render_request(request)


async def render_request(request: web.Request, problem: Problem | None = None) -> web.Response:
    """The page of a request or its live part, with the problem of a refused action."""
    engine = request.app[ENGINE]
    query = load_query(RequestQuery(unknown=EXCLUDE), request)
    last_event_id = engine.hub.last_id
    row = await get_request_or_404(engine, path_id(request))
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
        "statement": await load_statement(request, row, query["page"]) if row.result_payload else None,
        "notes": await list_notes(engine.pool, row) if row.result_payload else [],
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
        return SYNC_PATH, body
    if row.endpoint == FAILURES_PATH:
        script = URL(row.callback_url or "").query.get("script", "")
        return FAILURES_PATH, {**body, "script": [step for step in script.split(",") if step]}
    return ASYNC_PATH, {**body, **({"callback_url": row.callback_url} if row.callback_url else {})}


@html_page
async def cancel_request(request: web.Request) -> web.StreamResponse:
    """Cancels a request that has not ended and redirects to it."""
    engine = request.app[ENGINE]
    id = path_id(request)
    if await engine.changes.cancel(id) is None:
        row = await get_request_or_404(engine, id)
        return await render_request(request, Problem("conflict", f"The request has ended: {row.status}."))
    return redirect_to_request(id)


@html_page
async def repeat_request(request: web.Request) -> web.StreamResponse:
    """Submits the same request again, under the limits of its endpoint, and redirects to the new one."""
    row = await get_request_or_404(request.app[ENGINE], path_id(request))
    request[ORIGINAL] = row
    try:
        return await (repeat_sync if row.mode is Mode.SYNC else repeat_async)(request)
    except Problem as problem:
        if problem.slug not in {"invalid-parameters", "quota-exceeded"}:
            raise
        return await render_request(request, problem)


@rate_limited("sync", raise_refusal)
async def repeat_sync(request: web.Request) -> web.StreamResponse:
    """Submits a sync request again and waits for its end."""
    _, body = original_submission(request[ORIGINAL])
    return await submit_and_wait(request, parse_body(Submission, body))


@rate_limited("async", raise_refusal)
async def repeat_async(request: web.Request) -> web.StreamResponse:
    """Submits an async request again."""
    endpoint, body = original_submission(request[ORIGINAL])
    schema = FailingSubmission if endpoint == FAILURES_PATH else AsyncSubmission
    return await accept(request, parse_body(schema, body), endpoint)


@html_page
async def redeliver_callback(request: web.Request) -> web.StreamResponse:
    """Starts a new series of callback attempts and redirects to the request."""
    try:
        return await start_redelivery(request)
    except Problem as problem:
        if problem.slug not in {"conflict", "quota-exceeded"}:
            raise
        return await render_request(request, problem)


@rate_limited("async", raise_refusal)
async def start_redelivery(request: web.Request) -> web.StreamResponse:
    """Starts a new series of callback attempts, under the async limits."""
    engine = request.app[ENGINE]
    id = path_id(request)
    if await engine.changes.redeliver(id) is None:
        raise Problem("conflict", explain_redelivery_conflict(await get_request_or_404(engine, id)))
    return redirect_to_request(id)


async def accept(request: web.Request, parsed: ParsedBody, endpoint: str) -> web.StreamResponse:
    """Submits an async request and redirects to it."""
    new = new_request(request, await complete_submission(request.app[ENGINE], parsed), Mode.ASYNC, endpoint)
    await submit_row(request, parsed, new)
    return redirect_to_request(new.request.id)


async def submit_and_wait(request: web.Request, parsed: ParsedBody) -> web.StreamResponse:
    """Submits a sync request, waits for its end and redirects to it."""
    engine = request.app[ENGINE]
    new = new_request(request, await complete_submission(engine, parsed), Mode.SYNC, SYNC_PATH)
    with request.app[SYNC_LIMIT].permit(), engine.hub.end_of(new.request.id) as ended:
        await submit_row(request, parsed, new)
        # Where no slot was free in time, the page of the request says so.
        with contextlib.suppress(Problem):
            await engine.blocking.wait_for_end(new.request.id, ended)
    return redirect_to_request(new.request.id)


def redirect_to_request(id: UUID) -> web.Response:
    """A 303 to the page of a request."""
    return web.Response(status=303, headers={hdrs.LOCATION: f"/requests/{id}"})
