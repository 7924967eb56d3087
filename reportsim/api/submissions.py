"""POST /api/sync, /api/async and /api/callbacks/simulate-failures: submits a request, and waits for it or not."""

import contextlib

from aiohttp import web

from reportsim.core.model import Mode
from reportsim.core.stored_response import blocking_answer
from reportsim.schemas.submission_parser import ParsedBody, parse_raw
from reportsim.schemas.submissions import AsyncSubmission, FailingSubmission, Submission
from reportsim.store import requests as store
from reportsim.web.body import read_json
from reportsim.web.idempotency import idempotency_key, replay_refused, replay_row
from reportsim.web.keys import ENGINE, VISIT
from reportsim.web.limits.concurrency_limit import SYNC_LIMIT
from reportsim.web.limits.rate_limit import rate_limited
from reportsim.web.prefer import Preferences, read_preferences
from reportsim.web.request_lookup import wait_for_end
from reportsim.web.responses import accepted_response, ended_response, json_response, progress_headers
from reportsim.web.submission import ASYNC_PATH, FAILURES_PATH, SYNC_PATH, complete_submission, new_request, submit_row


@rate_limited("sync")
@replay_refused(Submission, SYNC_PATH)
async def create_sync(request: web.Request) -> web.StreamResponse:
    """Generates a report while the client waits, or later if the client prefers that."""
    engine = request.app[ENGINE]
    preferred = read_preferences(request)
    if preferred.respond_async:
        return await accept_async(
            request, *await read_submission(request, Submission, Mode.ASYNC, SYNC_PATH), preferred
        )
    # The body is read first, so that a slow sender does not hold a permit.
    parsed, new = await read_submission(request, Submission, Mode.SYNC, SYNC_PATH)
    visit = request[VISIT]
    with (
        contextlib.nullcontext() if visit else request.app[SYNC_LIMIT].permit(),
        engine.hub.end_of(new.request.id) as end,
    ):
        new, accepted = await submit_row(request, parsed, new)
        if not accepted:
            return await replay_row(request, new, preferred)
        found = await engine.blocking.wait_for_end(new.request.id, end, patient=visit is not None)
    return ended_response(found, *blocking_answer(found))


@rate_limited("async")
@replay_refused(AsyncSubmission, ASYNC_PATH)
async def create_async(request: web.Request) -> web.StreamResponse:
    """Accepts a request for a report and responds at once."""
    parsed, new = await read_submission(request, AsyncSubmission, Mode.ASYNC, ASYNC_PATH)
    return await accept_async(request, parsed, new, read_preferences(request).without_respond_async())


@rate_limited("async")
@replay_refused(FailingSubmission, FAILURES_PATH)
async def simulate_failures(request: web.Request) -> web.StreamResponse:
    """Accepts a request whose callback goes to the demo receiver, which fails by a script and then accepts it."""
    parsed, new = await read_submission(request, FailingSubmission, Mode.ASYNC, FAILURES_PATH)
    return await accept_async(request, parsed, new, read_preferences(request).without_respond_async())


async def read_submission(
    request: web.Request, schema: type[Submission], mode: Mode, endpoint: str
) -> tuple[ParsedBody, store.NewRequest]:
    """Reads the submission in a request, and builds the row to insert for it."""
    key = idempotency_key(request)
    parsed = parse_raw(schema, await read_json(request))
    accepted = await complete_submission(request.app[ENGINE], parsed)
    return parsed, new_request(request, accepted, mode, endpoint, key)


async def accept_async(
    request: web.Request, parsed: ParsedBody, new: store.NewRequest, preferred: Preferences
) -> web.Response:
    """The 202 after the COMMIT, or a replay; 200 if the request ends while the client would wait."""
    new, accepted = await submit_row(request, parsed, new)
    if not accepted:
        answer = await replay_row(request, new, preferred)
        answer.headers.update(preferred.applied_header(respond_async=preferred.respond_async and answer.status == 202))
        return answer
    assert new.answer_body is not None
    applied = preferred.applied_header(respond_async=preferred.respond_async, wait=True)
    if preferred.wait:
        ended = await wait_for_end(request, new.request.id, preferred.wait)
        if ended is not None:
            return json_response(ended.as_json(), headers={**applied, **progress_headers(ended)})
    return accepted_response(new.request, new.answer_body, applied)
