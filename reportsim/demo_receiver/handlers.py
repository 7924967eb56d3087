"""The demo receiver: a webhook endpoint inside the service that fails as its URL says, verifies, and remembers."""

import asyncio
import contextlib
import itertools
import json
import re
from datetime import datetime
from typing import Final

from aiohttp import hdrs, web
from marshmallow import EXCLUDE, fields, validate
from standardwebhooks.webhooks import Webhook, WebhookVerificationError

from reportsim.api.requests import json_response, load_query
from reportsim.core.problems import Problem
from reportsim.demo_receiver.inboxes import INBOXES, Arrival
from reportsim.engine.delivery.dispatcher import Dispatcher
from reportsim.pages.request_list import stream_url
from reportsim.pages.templating import render
from reportsim.schemas.requests import STEP, Strict
from reportsim.web.body import read_body
from reportsim.web.keys import ENGINE

INBOX: Final = re.compile(r"[A-Za-z0-9_-]{1,64}", re.ASCII)
MOST_STEPS: Final = 100
MOST_BODY: Final = 256 * 1024
KEPT_BODY: Final = 8 * 1024
SHOWN_HEADERS: Final = re.compile(r"webhook-|content-|traceparent|user-agent", re.IGNORECASE)
KEPT_HEADERS: Final = 32
KEPT_VALUE: Final = 1_000
HANG_S: Final = 60.0


class ScriptQuery(Strict):
    """How attempts are answered."""

    script = fields.String(
        load_default="",
        validate=validate.Regexp(
            rf"(?:{STEP}(?:,{STEP}){{0,{MOST_STEPS - 1}}})?\Z",
            error=f"A script is at most {MOST_STEPS} statuses, timeout, reset or slow, separated by commas.",
        ),
        metadata={
            "description": "One step for each attempt, separated by commas: a status; `timeout`, which is silence for a"
            " minute; `reset`, which breaks off; `slow`, whose body takes a minute. Afterwards, 200."
        },
    )


class InboxQuery(Strict):
    """Whether JSON is asked for, whatever is accepted, or only the live part of the page."""

    format = fields.String(validate=validate.Equal("json"))
    fragment = fields.String(validate=validate.Equal("inbox"))


def verify(dispatcher: Dispatcher, body: bytes, headers: dict[str, str]) -> bool:
    """Whether the signature holds, by the library that receivers use."""
    return any(is_signed(secret, body, headers) for secret in dispatcher.secrets)


def is_signed(secret: bytes, body: bytes, headers: dict[str, str]) -> bool:
    """Whether one secret made the signature."""
    with contextlib.suppress(WebhookVerificationError, ValueError):
        Webhook(secret).verify(body.decode("utf-8", "replace"), headers)
        return True
    return False


def since_accepted_ms(body: bytes, at: datetime) -> float | None:
    """How long ago the request was accepted that a callback is about; None when the body does not say."""
    with contextlib.suppress(ValueError, RecursionError, LookupError, TypeError):
        accepted = datetime.fromisoformat(json.loads(body)["data"]["created_at"])
        return round((at - accepted).total_seconds() * 1000, 3)
    return None


def inbox_in(request: web.Request) -> str:
    """The inbox named in the path."""
    name = request.match_info["inbox"]
    if not INBOX.fullmatch(name):
        raise Problem("not-found", "An inbox has a name of letters, digits, - and _.")
    return name


def step_for(request: web.Request) -> str:
    """The step that the attempt's number picks from the script; beyond it, the callback is accepted."""
    script = list(filter(None, load_query(ScriptQuery(unknown=EXCLUDE), request)["script"].split(",")))
    text = request.headers.get("webhook-attempt", "1")
    number = int(text) if re.fullmatch(r"[1-9][0-9]{0,5}", text) else 1
    return script[number - 1] if number <= len(script) else "200"


def readable(value: str) -> str:
    """A header's value as a text: aiohttp keeps bytes that are no UTF-8 as halves of surrogate pairs."""
    return value.encode("utf-8", "surrogateescape").decode("utf-8", "replace")


async def receive(request: web.Request) -> web.StreamResponse:
    """Takes a callback, keeps it, and answers as the script says.

    The number of the attempt picks the step of `?script=503,timeout,reset,slow`; beyond its end, and without one,
    every callback is accepted.
    """
    engine = request.app[ENGINE]
    name = inbox_in(request)
    step = step_for(request)
    body = await read_body(request, MOST_BODY)
    headers = {name.lower(): readable(value) for name, value in request.headers.items() if SHOWN_HEADERS.match(name)}
    inboxes = request.app[INBOXES]
    at = engine.clock.now()
    verified = verify(engine.dispatcher, body, headers)
    arrival = Arrival(
        at=at,
        since_accepted_ms=since_accepted_ms(body, at) if verified else None,
        headers={name: value[:KEPT_VALUE] for name, value in itertools.islice(headers.items(), KEPT_HEADERS)},
        body=body[:KEPT_BODY].decode("utf-8", "replace"),
        verified=verified,
        duplicate=inboxes.has_accepted(name, headers.get("webhook-id", "")),
        step=step,
    )
    inboxes.add(name, arrival)
    return await play(request, step)


async def play(request: web.Request, step: str) -> web.StreamResponse:
    """One step of a script: an answer, silence, a reset connection, or a body that never ends."""
    match step:
        case "timeout":
            await asyncio.sleep(HANG_S)
            return received(504)
        case "reset":
            if request.transport is not None:
                request.transport.abort()
            return received(500)
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
            return received(int(step))


def received(status: int) -> web.Response:
    """The answer of a status: whether it takes the callback."""
    return web.json_response({"received": 200 <= status < 300}, status=status)


async def show_inbox(request: web.Request) -> web.Response:
    """What arrived in an inbox on this replica, oldest first: a page for browsers, else JSON."""
    name = inbox_in(request)
    # Read before the arrivals, so that the stream goes on from a moment that they include.
    last_event_id = request.app[ENGINE].hub.last_id
    arrivals = request.app[INBOXES].arrivals(name)
    query = load_query(InboxQuery(unknown=EXCLUDE), request)
    likes_pages = "format" not in query and "text/html" in request.headers.get(hdrs.ACCEPT, "")
    if likes_pages or "fragment" in query:
        template = "partials/inbox.html" if "fragment" in query else "inbox.html"
        response = render(request, template, inbox=name, arrivals=arrivals, events=stream_url(last_event_id))
    else:
        response = json_response({"inbox": name, "items": [arrival.as_json() for arrival in arrivals]})
    response.headers[hdrs.VARY] = hdrs.ACCEPT
    return response
