"""POST /api/sync and POST /api/async: one way in, two ways to wait."""

import contextlib
import re
from dataclasses import replace
from ipaddress import ip_address
from typing import Any, Final
from uuid import UUID

from aiohttp import hdrs, web

from reportsim.api.requests import held, json_response, progress_headers
from reportsim.core import tracing
from reportsim.core.callback_policy.urls import OwnReceiver
from reportsim.core.json import dumps
from reportsim.core.model import CallbackStatus, Mode, Request, Status
from reportsim.core.problems import Problem, invalid, unavailable
from reportsim.core.service_time import draw
from reportsim.core.stored_response import blocking_answer, server_timing
from reportsim.engine.blocking import too_much_waiting
from reportsim.engine.delivery.sender import demo_url
from reportsim.engine.engine import DEMO_PATH
from reportsim.schemas.requests import (
    Accepted,
    AsyncSubmission,
    FailingSubmission,
    Parsed,
    Submission,
    parse_raw,
    read_submission,
    same_meaning,
)
from reportsim.store import requests as store
from reportsim.web.body import read_json
from reportsim.web.client_address import client, limited
from reportsim.web.keys import ENGINE, REQUEST_ID, ROW_ID, SETTINGS, SYNC_PLACES, TRACE, VISIT
from reportsim.web.middleware import PROBLEM
from reportsim.web.prefer import Preferences, preferences

KEY: Final = re.compile(r"[ -~]{1,255}", re.ASCII)
# Structured fields (RFC 9651): a string, and the parameters that may follow it.
STRING: Final = r'"((?:[ !#-\[\]-~]|\\["\\])*)"'
ITEM: Final = (
    r"""-?[0-9]+(?:\.[0-9]+)?|"(?:[ !#-\[\]-~]|\\["\\])*"|[A-Za-z*][!#-'*+\-./:^-z|~0-9A-Z]*|:[A-Za-z0-9+/=]*:"""
    r"""|\?[01]|@-?[0-9]+|%"[ !#-~]*\""""
)
KEY_STRING: Final = re.compile(rf"{STRING}(?: *; *[a-z*][a-z0-9_.*-]*(?:=(?:{ITEM}))?)*", re.ASCII)
SYNC: Final = "/api/sync"
ASYNC: Final = "/api/async"
FAILURES: Final = "/api/callbacks/simulate-failures"


@limited("sync")
async def create_sync(request: web.Request) -> web.StreamResponse:
    """Makes a report while the client waits, or for later when it prefers that."""
    engine = request.app[ENGINE]
    preferred = preferences(request)
    if preferred.respond_async:
        return await accept_for_later(request, *await read_new(request, Submission, Mode.ASYNC, SYNC), preferred)
    # The body first: a client that sends it slowly keeps nobody else from waiting.
    parsed, new = await read_new(request, Submission, Mode.SYNC, SYNC)
    visit = request.get(VISIT)
    with (
        contextlib.nullcontext() if visit else request.app[SYNC_PLACES].place(),
        engine.hub.end_of(new.request.id) as end,
    ):
        new, accepted = await submit_row(request, parsed, new)
        if not accepted:
            return await replay(request, new, preferred)
        found = await engine.blocking.wait_for_end(new.request.id, end, patient=visit is not None)
    return ended_response(found, *blocking_answer(found))


@limited("async")
async def create_async(request: web.Request) -> web.StreamResponse:
    """Accepts a report for later and answers at once."""
    parsed, new = await read_new(request, AsyncSubmission, Mode.ASYNC, ASYNC)
    return await accept_for_later(request, parsed, new, replace(preferences(request), respond_async=False))


@limited("async")
async def simulate_failures(request: web.Request) -> web.StreamResponse:
    """Accepts a report whose callback goes to the demo receiver, which plays a script of failures and then accepts."""
    parsed, new = await read_new(request, FailingSubmission, Mode.ASYNC, FAILURES)
    return await accept_for_later(request, parsed, new, replace(preferences(request), respond_async=False))


async def read_new(
    request: web.Request, schema: type[Submission], mode: Mode, endpoint: str
) -> tuple[Parsed, store.NewRequest]:
    """The submission that a request carries, and the row to insert for it."""
    key = idempotency_key(request)
    parsed = parse_raw(schema, await read_json(request))
    accepted = await read_submission(request.app[ENGINE], parsed)
    return parsed, new_request(request, accepted, mode, endpoint, key)


async def submit_row(request: web.Request, parsed: Parsed, new: store.NewRequest) -> tuple[store.NewRequest, bool]:
    """Submits a row, made again with the ledger as it is now where that has changed; False when its key is taken.

    Raises:
        Problem: 422 when the ledger is gone, or what was asked for does not fit it any more.
    """
    engine, first = request.app[ENGINE], new.request
    while not await engine.submit(new):
        accepted = await read_submission(engine, parsed, fresh=True)
        row = new.request
        if (row.ledger_id, row.ledger_version) == (accepted.ledger.ledger_id, accepted.ledger.version):
            if row.idempotency_key is None:
                raise too_much_waiting()
            return new, False
        new = new_request(request, accepted, row.mode, row.endpoint, row.idempotency_key, id=first.id)
    return new, True


async def accept_for_later(
    request: web.Request, parsed: Parsed, new: store.NewRequest, preferred: Preferences
) -> web.Response:
    """The 202 after the COMMIT, or the first answer again; 200 when it ends while the client would wait."""
    new, accepted = await submit_row(request, parsed, new)
    if not accepted:
        answer = await replay(request, new, preferred)
        answer.headers.update(preferred.applied(respond_async=preferred.respond_async and answer.status == 202))
        return answer
    assert new.answer_body is not None
    applied = preferred.applied(respond_async=preferred.respond_async, wait=True)
    if preferred.wait:
        ended = await held(request, new.request.id, preferred.wait)
        if ended is not None:
            return json_response(ended.as_json(), headers={**applied, **progress_headers(ended)})
    return accepted_response(new.request, new.answer_body, applied)


def new_request(
    request: web.Request,
    accepted: Accepted,
    mode: Mode,
    endpoint: str,
    key: str | None = None,
    *,
    id: UUID | None = None,
) -> store.NewRequest:
    """The row of a submission, with the answer that is given when it is accepted for later."""
    engine = request.app[ENGINE]
    id = id or engine.new_id()
    url, origin, demo = accepted.callback_url, accepted.callback_origin, accepted.callback_demo
    if endpoint == FAILURES:
        origin, demo = demo_url(own_receiver(request), f"{DEMO_PATH}{id}"), True
        url = f"{origin}?script={failure_script(accepted.extra)}"
    visit = request.get(VISIT)
    if visit is not None:
        visit.takes(id)
    simulate = accepted.payload.get("simulate")
    if simulate and visit is None and not request.app[SETTINGS].simulate:
        raise invalid([{"detail": "This service does not simulate (REPORTSIM_SIMULATE).", "pointer": "#/simulate"}])
    row = Request(
        id=id,
        mode=mode,
        status=Status.PENDING,
        input_payload=accepted.payload,
        callback_url=url,
        callback_origin=origin,
        callback_status=CallbackStatus.PENDING if url else None,
        callback_demo=demo,
        idempotency_key=key,
        endpoint=endpoint,
        ledger_id=accepted.ledger.ledger_id,
        ledger_version=accepted.ledger.version,
        report_version=accepted.report.version,
        csv_guard=request.app[SETTINGS].csv_guard,
        run_id=visit.run.id if visit else None,
        http_request_id=request[REQUEST_ID],
        traceparent=trace(request),
        client=None if visit else engine.hash_client(client(request)),
        planned_s=draw(simulate).service_s if simulate else 0.0,
        created_at=engine.clock.now(),
    )
    remember(request, row)
    later = mode is Mode.ASYNC
    return store.NewRequest(
        request=row,
        owner=visit.owner if visit else None if later else engine.owner,
        fingerprint=accepted.fingerprint if key else None,
        answer_status=202 if later else None,
        answer_body=dumps(row.as_json()) if later else None,
    )


def remember(request: web.Request, row: Request) -> None:
    """Notes for the log which row a request is about, and the trace that the row belongs to."""
    request[ROW_ID] = str(row.id)
    request[TRACE] = row.traceparent or ""


def own_receiver(request: web.Request) -> OwnReceiver:
    """The demo receiver's origin: the listening socket, as known since the start or as this request came in."""
    if (known := request.app[ENGINE].demo) is not None:
        return known
    name = request.transport.get_extra_info("sockname") if request.transport else None
    if name is None:
        raise unavailable("The demo receiver is not known yet.")
    return OwnReceiver(ip_address(name[0]), name[1], DEMO_PATH)


def failure_script(extra: dict[str, Any]) -> str:
    """The steps that the demo receiver plays, as its URL carries them."""
    if "script" in extra:
        return ",".join(extra["script"])
    step = str(extra["status_code"]) if extra["fault"] == "status" else extra["fault"]
    return ",".join([step] * extra["failures"])


def trace(request: web.Request) -> str:
    """The trace that this request belongs to, or starts."""
    given = request.headers.getall("traceparent") if "traceparent" in request.headers else ()
    context = tracing.parse_traceparent(given)
    entropy = request.app[ENGINE].entropy
    return (tracing.child(context, entropy) if context else tracing.new_trace(entropy=entropy)).traceparent


def idempotency_key(request: web.Request) -> str | None:
    """The key under which the answer is kept, from `X-Idempotency-Key` or the standard `Idempotency-Key`.

    Raises:
        Problem: 400 for a key that is repeated, malformed, or not the same in both headers.
    """
    plain = request.headers.getall("X-Idempotency-Key", [])
    standard = request.headers.getall("Idempotency-Key", [])
    if len(plain) > 1 or len(standard) > 1:
        raise Problem("invalid-idempotency-key", "The key is sent more than once.")
    keys = {unquote(value) for value in standard}
    # A client that sends the same text in both headers names one key.
    if plain != standard:
        keys.update(plain)
    if not keys:
        return None
    key = keys.pop()
    if keys:
        raise Problem("invalid-idempotency-key", "The two headers name different keys.")
    if not KEY.fullmatch(key):
        raise Problem("invalid-idempotency-key", "A key has 1 to 255 printable ASCII characters.")
    return key


def unquote(value: str) -> str:
    """The content of a structured-field string without its parameters; a value without quotes as it stands."""
    if not value.startswith('"'):
        return value
    match = KEY_STRING.fullmatch(value)
    if match is None:
        raise Problem("invalid-idempotency-key", 'In quotes, Idempotency-Key is one string like "abc".')
    return re.sub(r"\\(.)", r"\1", match[1])


async def replay(request: web.Request, new: store.NewRequest, preferred: Preferences) -> web.Response:
    """The first answer again, byte for byte; nothing is executed. Waits for it while the client would wait."""
    replayed = {"Idempotent-Replayed": "true"}
    stored = await first_answer(request, new)
    if stored.status is None and preferred.wait and await held(request, stored.request.id, preferred.wait):
        stored = await first_answer(request, new)
        replayed |= preferred.applied(wait=True)
    first = stored.request
    if stored.status is None or stored.body is None:
        link = f"/api/requests/{first.id}"
        raise Problem(
            "idempotency-in-progress",
            "The first request with this key is still running.",
            {"instance": link},
            {"Retry-After": "1", hdrs.LINK: f'<{link}>; rel="status"'},
        )
    if stored.status == 202:
        return accepted_response(first, stored.body, replayed)
    return ended_response(first, stored.status, stored.body, replayed)


async def first_answer(request: web.Request, new: store.NewRequest) -> store.StoredAnswer:
    """What is stored under the key of a request that means the same.

    Raises:
        Problem: 422 when the key was used for another request, 503 when nothing is stored under it.
    """
    stored = await store.stored_answer(request.app[ENGINE].pool, new.request.idempotency_key or "")
    if stored is None:
        # Nothing was inserted, and nothing is stored under the key: its client has too much waiting.
        raise too_much_waiting()
    first = stored.request
    remember(request, first)
    if first.endpoint != new.request.endpoint or not same_meaning(stored.fingerprint, new.fingerprint or b""):
        raise Problem("idempotency-mismatch", "The key was used for another request.")
    return stored


def accepted_response(row: Request, body: bytes, headers: dict[str, str] | None = None) -> web.Response:
    """The 202: where to look, and when."""
    return web.Response(
        status=202,
        body=body,
        headers={
            hdrs.CONTENT_TYPE: "application/json",
            "Location": f"/api/requests/{row.id}",
            "Retry-After": "1",
            **(headers or {}),
        },
    )


def ended_response(row: Request, status: int, body: bytes, headers: dict[str, str] | None = None) -> web.Response:
    """The answer to whoever waited for a request's end, with where the time went."""
    return web.Response(
        status=status,
        body=body,
        headers={
            hdrs.CONTENT_TYPE: "application/json" if status < 400 else PROBLEM,
            "Server-Timing": server_timing(row),
            **(headers or {}),
        },
    )
