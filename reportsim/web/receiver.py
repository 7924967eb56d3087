"""The demo receiver: a webhook endpoint inside the service that fails as its URL says, verifies, and remembers."""

import asyncio
import contextlib
import re
from collections import OrderedDict, deque
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from aiohttp import web
from standardwebhooks.webhooks import Webhook, WebhookVerificationError

from reportsim.core.model import rfc3339
from reportsim.core.problems import Problem
from reportsim.engine.callbacks import Courier
from reportsim.web.body import read_body
from reportsim.web.keys import ENGINE
from reportsim.web.requests import json_response

INBOX: Final = re.compile(r"[A-Za-z0-9_-]{1,64}", re.ASCII)
STEP: Final = re.compile(r"[2-5][0-9]{2}|timeout|reset|slow", re.ASCII)
MOST_INBOXES: Final = 1_000
MOST_ARRIVALS: Final = 50
MOST_BODY: Final = 256 * 1024
KEPT_BODY: Final = 8 * 1024
SHOWN_HEADERS: Final = re.compile(r"webhook-|content-|traceparent|user-agent", re.IGNORECASE)
HANG_S: Final = 60.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Arrival:
    """One callback as it came in."""

    at: datetime
    headers: dict[str, str]
    body: str
    verified: bool
    duplicate: bool
    step: str

    def as_json(self) -> dict[str, Any]:
        """The arrival as the inbox shows it."""
        return {
            "received_at": rfc3339(self.at),
            "headers": self.headers,
            "body": self.body,
            "verified": self.verified,
            "duplicate": self.duplicate,
            "answer": self.step,
        }


class Inboxes:
    """The last arrivals of the inboxes used last; everything else is forgotten."""

    def __init__(self) -> None:
        """Makes no inbox; each comes with its first arrival."""
        self._inboxes: OrderedDict[str, deque[Arrival]] = OrderedDict()

    def add(self, name: str, arrival: Arrival) -> None:
        """Keeps an arrival."""
        inbox = self._inboxes.setdefault(name, deque(maxlen=MOST_ARRIVALS))
        self._inboxes.move_to_end(name)
        inbox.append(arrival)
        if len(self._inboxes) > MOST_INBOXES:
            self._inboxes.popitem(last=False)

    def arrivals(self, name: str) -> list[Arrival]:
        """What arrived in an inbox, oldest first."""
        return list(self._inboxes.get(name, ()))

    def has_accepted(self, name: str, message_id: str) -> bool:
        """Whether a message was accepted here before."""
        return any(
            arrival.verified and arrival.headers.get("webhook-id") == message_id and arrival.step.startswith("2")
            for arrival in self._inboxes.get(name, ())
        )


INBOXES: Final = web.AppKey("INBOXES", Inboxes)


def verify(courier: Courier, body: bytes, headers: dict[str, str]) -> bool:
    """Whether the signature holds, by the library that receivers use."""
    return any(is_signed(secret, body, headers) for secret in courier.secrets)


def is_signed(secret: bytes, body: bytes, headers: dict[str, str]) -> bool:
    """Whether one secret made the signature."""
    with contextlib.suppress(WebhookVerificationError, ValueError):
        Webhook(secret).verify(body.decode("utf-8", "replace"), headers)
        return True
    return False


def inbox_in(request: web.Request) -> str:
    """The inbox named in the path."""
    name = request.match_info["inbox"]
    if not INBOX.fullmatch(name):
        raise Problem("not-found", "An inbox has a name of letters, digits, - and _.")
    return name


def step_for(request: web.Request) -> str:
    """The step that the attempt's number picks from the script; beyond it, the callback is accepted."""
    script = [step for step in request.query.get("script", "").split(",") if step]
    if len(script) > 100 or not all(STEP.fullmatch(step) for step in script):
        raise Problem("malformed-request", "A script is a list of statuses, timeout, reset or slow.")
    text = request.headers.get("webhook-attempt", "1")
    number = int(text) if re.fullmatch(r"[1-9][0-9]{0,5}", text) else 1
    return script[number - 1] if number <= len(script) else "200"


async def receive(request: web.Request) -> web.StreamResponse:
    """Takes a callback, keeps it, and answers as the script says."""
    engine = request.app[ENGINE]
    name = inbox_in(request)
    step = step_for(request)
    body = await read_body(request, MOST_BODY)
    headers = {name.lower(): value for name, value in request.headers.items() if SHOWN_HEADERS.match(name)}
    inboxes = request.app[INBOXES]
    arrival = Arrival(
        at=engine.clock.now(),
        headers=headers,
        body=body[:KEPT_BODY].decode("utf-8", "replace"),
        verified=verify(engine.courier, body, headers),
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
            return web.Response(status=504)
        case "reset":
            if request.transport is not None:
                request.transport.abort()
            return web.Response(status=500)
        case "slow":
            response = web.StreamResponse()
            await response.prepare(request)
            with contextlib.suppress(ConnectionResetError):
                for _ in range(int(HANG_S)):
                    await response.write(b".")
                    await asyncio.sleep(1)
                await response.write_eof()
            return response
        case _:
            return web.json_response({"received": step.startswith("2")}, status=int(step))


async def show_inbox(request: web.Request) -> web.Response:
    """What arrived in an inbox on this replica, oldest first."""
    arrivals: Sequence[Arrival] = request.app[INBOXES].arrivals(inbox_in(request))
    return json_response({"inbox": inbox_in(request), "items": [arrival.as_json() for arrival in arrivals]})
