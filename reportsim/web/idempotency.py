"""Reads idempotency keys, and replays the stored response of a repeated request."""

import re
from typing import Final

from aiohttp import hdrs, web

from reportsim.core.problems import Problem
from reportsim.engine.engine import too_much_waiting
from reportsim.store import requests as store
from reportsim.web.fingerprint import same_meaning
from reportsim.web.keys import ENGINE
from reportsim.web.prefer import Preferences
from reportsim.web.request_lookup import wait_for_end
from reportsim.web.responses import accepted_response, ended_response
from reportsim.web.tracing import set_log_ids

KEY: Final = re.compile(r"[ -~]{1,255}", re.ASCII)
# Structured fields (RFC 9651): a string, and the parameters that may follow it.
STRING: Final = r'"((?:[ !#-\[\]-~]|\\["\\])*)"'
ITEM: Final = (
    r"""-?[0-9]+(?:\.[0-9]+)?|"(?:[ !#-\[\]-~]|\\["\\])*"|[A-Za-z*][!#-'*+\-./:^-z|~0-9A-Z]*|:[A-Za-z0-9+/=]*:"""
    r"""|\?[01]|@-?[0-9]+|%"[ !#-~]*\""""
)
KEY_STRING: Final = re.compile(rf"{STRING}(?: *; *[a-z*][a-z0-9_.*-]*(?:=(?:{ITEM}))?)*", re.ASCII)


def idempotency_key(request: web.Request) -> str | None:
    """The idempotency key, from `X-Idempotency-Key` or the standard `Idempotency-Key`.

    Raises:
        Problem: 400 for a key that is repeated, malformed, or different in the two headers.
    """
    plain = request.headers.getall("X-Idempotency-Key", [])
    standard = request.headers.getall("Idempotency-Key", [])
    if len(plain) > 1 or len(standard) > 1:
        raise Problem("invalid-idempotency-key", "The key is sent more than once.")
    keys = {unquote(value) for value in standard}
    # The same text in both headers is one key.
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
    """The content of a structured-field string, without parameters; a value without quotes is returned as it is."""
    if not value.startswith('"'):
        return value
    match = KEY_STRING.fullmatch(value)
    if match is None:
        raise Problem("invalid-idempotency-key", 'In quotes, Idempotency-Key is one string like "abc".')
    return re.sub(r"\\(.)", r"\1", match[1])


async def replay(request: web.Request, new: store.NewRequest, preferred: Preferences) -> web.Response:
    """Sends the stored response again, byte for byte; waits for it as long as the client would."""
    headers = {"Idempotent-Replayed": "true"}
    stored = await read_stored_response(request, new)
    if stored.status is None and preferred.wait and await wait_for_end(request, stored.request.id, preferred.wait):
        stored = await read_stored_response(request, new)
        headers |= preferred.applied_header(wait=True)
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
        return accepted_response(first, stored.body, headers)
    return ended_response(first, stored.status, stored.body, headers)


async def read_stored_response(request: web.Request, new: store.NewRequest) -> store.StoredAnswer:
    """The response stored under the key of a request.

    Raises:
        Problem: 422 if the key was used for another request, 503 if nothing is stored under it.
    """
    stored = await store.stored_answer(request.app[ENGINE].pool, new.request.idempotency_key or "")
    if stored is None:
        # Neither inserted nor stored: the client has too many waiting requests.
        raise too_much_waiting()
    first = stored.request
    set_log_ids(request, first)
    if first.endpoint != new.request.endpoint or not same_meaning(stored.fingerprint, new.fingerprint or b""):
        raise Problem("idempotency-mismatch", "The key was used for another request.")
    return stored
