"""The demo receiver: a webhook endpoint that fails by the script in its URL, and stores callbacks."""

import asyncio
import contextlib
import itertools
import json
import re
from datetime import datetime
from typing import Final

from aiohttp import hdrs, web
from marshmallow import EXCLUDE
from standardwebhooks.webhooks import Webhook, WebhookVerificationError

from reportsim.core.problems import Problem
from reportsim.demo_receiver.inboxes import INBOXES, Arrival
from reportsim.engine.delivery.dispatcher import Dispatcher
from reportsim.schemas.demo_receiver import INBOX_NAME, InboxQuery, ScriptQuery
from reportsim.schemas.events import stream_url
from reportsim.web.body import read_body
from reportsim.web.keys import ENGINE
from reportsim.web.query_parameters import load_query
from reportsim.web.responses import json_response
from reportsim.web.templating import render

MAX_CALLBACK_BODY_BYTES: Final = 256 * 1024
STORED_BODY_BYTES: Final = 8 * 1024
SHOWN_HEADERS: Final = re.compile(r"webhook-|content-|traceparent|user-agent", re.IGNORECASE)
STORED_HEADERS: Final = 32
STORED_VALUE_LENGTH: Final = 1_000
HANG_S: Final = 60.0


def verify(dispatcher: Dispatcher, body: bytes, headers: dict[str, str]) -> bool:
    """Whether one of the signatures is valid, checked with the library that receivers use."""
    return any(is_signed(secret, body, headers) for secret in dispatcher.secrets)


def is_signed(secret: bytes, body: bytes, headers: dict[str, str]) -> bool:
    """Whether a signature was made with this secret."""
    with contextlib.suppress(WebhookVerificationError, ValueError):
        Webhook(secret).verify(body.decode("utf-8", "replace"), headers)
        return True
    return False


def since_accepted_ms(body: bytes, at: datetime) -> float | None:
    """Milliseconds since the request of a callback was accepted; None if the body does not contain that."""
    with contextlib.suppress(ValueError, RecursionError, LookupError, TypeError):
        accepted = datetime.fromisoformat(json.loads(body)["data"]["created_at"])
        return round((at - accepted).total_seconds() * 1000, 3)
    return None


def path_inbox(request: web.Request) -> str:
    """The name of the inbox in the path."""
    name = request.match_info["inbox"]
    if not INBOX_NAME.fullmatch(name):
        raise Problem("not-found", "The name of an inbox consists of letters, digits, - and _.")
    return name


def step_for(request: web.Request) -> str:
    """The step of the script for the number of this attempt; 200 beyond its end."""
    script = list(filter(None, load_query(ScriptQuery(unknown=EXCLUDE), request)["script"].split(",")))
    text = request.headers.get("webhook-attempt", "1")
    number = int(text) if re.fullmatch(r"[1-9][0-9]{0,5}", text) else 1
    return script[number - 1] if number <= len(script) else "200"


def decode_header(value: str) -> str:
    """Replaces bytes that are not UTF-8, which aiohttp decodes to lone surrogates."""
    return value.encode("utf-8", "surrogateescape").decode("utf-8", "replace")


async def receive(request: web.Request) -> web.StreamResponse:
    """Receives a callback, stores it, and responds by the script.

    The number of the attempt selects the step of `?script=503,timeout,reset,slow`; beyond its end, and without one,
    every callback is accepted.
    """
    engine = request.app[ENGINE]
    name = path_inbox(request)
    step = step_for(request)
    body = await read_body(request, MAX_CALLBACK_BODY_BYTES)
    headers = {
        name.lower(): decode_header(value) for name, value in request.headers.items() if SHOWN_HEADERS.match(name)
    }
    inboxes = request.app[INBOXES]
    at = engine.clock.now()
    verified = verify(engine.dispatcher, body, headers)
    arrival = Arrival(
        at=at,
        since_accepted_ms=since_accepted_ms(body, at) if verified else None,
        headers={
            name: value[:STORED_VALUE_LENGTH] for name, value in itertools.islice(headers.items(), STORED_HEADERS)
        },
        body=body[:STORED_BODY_BYTES].decode("utf-8", "replace"),
        verified=verified,
        duplicate=inboxes.has_accepted(name, headers.get("webhook-id", "")),
        step=step,
    )
    inboxes.add(name, arrival)
    return await play(request, step)


async def play(request: web.Request, step: str) -> web.StreamResponse:
    """Executes one step of a script: a status, no response, a reset connection, or a slow body."""
    match step:
        case "timeout":
            await asyncio.sleep(HANG_S)
            return receipt_response(504)
        case "reset":
            if request.transport is not None:
                request.transport.abort()
            return receipt_response(500)
        case "slow":
            response = web.StreamResponse(headers={hdrs.CONTENT_TYPE: "application/json"})
            await response.prepare(request)
            with contextlib.suppress(ConnectionResetError):
                for _ in range(int(HANG_S)):
                    await response.write(b" ")
                    await asyncio.sleep(1)
                await response.write_eof(b'{"received": false}')
            return response
        case _:
            return receipt_response(int(step))


def receipt_response(status: int) -> web.Response:
    """The response with a status."""
    return web.json_response({"received": 200 <= status < 300}, status=status)


async def show_inbox(request: web.Request) -> web.Response:
    """The callbacks in an inbox of this replica, oldest first: a page for browsers, else JSON."""
    name = path_inbox(request)
    # Read before the callbacks, so that the event stream continues from a state that they include.
    last_event_id = request.app[ENGINE].hub.last_id
    arrivals = request.app[INBOXES].arrivals(name)
    query = load_query(InboxQuery(unknown=EXCLUDE), request)
    html = "format" not in query and "text/html" in request.headers.get(hdrs.ACCEPT, "")
    if html or "fragment" in query:
        template = "partials/inbox.html" if "fragment" in query else "inbox.html"
        response = render(request, template, inbox=name, arrivals=arrivals, events=stream_url(last_event_id))
    else:
        response = json_response({"inbox": name, "items": [arrival.as_json() for arrival in arrivals]})
    response.headers[hdrs.VARY] = hdrs.ACCEPT
    return response
