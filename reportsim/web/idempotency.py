"""Reads idempotency keys, and replays the stored response of a repeated request."""

import functools
import re
from collections.abc import Callable
from typing import Final

from aiohttp import hdrs, web
from aiohttp.typedefs import Handler

from reportsim.core.problems import Problem
from reportsim.engine.blocking import too_much_waiting
from reportsim.schemas.submission_parser import parse_raw
from reportsim.schemas.submissions import Submission
from reportsim.store import requests as store
from reportsim.web.body import read_json
from reportsim.web.fingerprint import digest_as_sent, same_meaning
from reportsim.web.keys import ENGINE, ROW
from reportsim.web.prefer import Preferences, read_preferences
from reportsim.web.request_lookup import wait_for_end
from reportsim.web.responses import accepted_response, ended_response
from reportsim.web.submission import SYNC_PATH

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


def replay_refused(schema: type[Submission], endpoint: str) -> Callable[[Handler], Handler]:
    """Replays the stored response also for a repeated submission that is no longer valid.

    Its ledger may have been deleted, or the callback policy may have changed, after the first one was accepted.
    """

    def decorate(handler: Handler) -> Handler:
        @functools.wraps(handler)
        async def wrapper(request: web.Request) -> web.StreamResponse:
            try:
                return await handler(request)
            except Problem as problem:
                if problem.slug != "invalid-parameters" or (key := idempotency_key(request)) is None:
                    raise
                fingerprint = digest_as_sent(parse_raw(schema, await read_json(request)))
                if fingerprint is None or not await is_used_for(request, key, endpoint, fingerprint):
                    raise
                preferred = read_preferences(request)
                response = await replay(request, key, endpoint, fingerprint, preferred)
                later = endpoint == SYNC_PATH and preferred.respond_async and response.status == 202
                response.headers.update(preferred.applied_header(respond_async=later))
                return response

        return wrapper

    return decorate


async def is_used_for(request: web.Request, key: str, endpoint: str, fingerprint: bytes) -> bool:
    """Whether a key was used for a submission of this meaning."""
    stored = await store.stored_answer(request.app[ENGINE].pool, key)
    return stored is not None and stored.request.endpoint == endpoint and same_meaning(stored.fingerprint, fingerprint)


async def replay_row(request: web.Request, new: store.NewRequest, preferred: Preferences) -> web.Response:
    """Replays the response stored under the key of a row that was not inserted."""
    row = new.request
    return await replay(request, row.idempotency_key or "", row.endpoint, new.fingerprint or b"", preferred)


async def replay(
    request: web.Request, key: str, endpoint: str, fingerprint: bytes, preferred: Preferences
) -> web.Response:
    """Sends the stored response again, byte for byte; waits for it as long as the client would."""
    headers = {"Idempotent-Replayed": "true"}
    stored = await read_stored_response(request, key, endpoint, fingerprint)
    if stored.status is None and preferred.wait and await wait_for_end(request, stored.request.id, preferred.wait):
        stored = await read_stored_response(request, key, endpoint, fingerprint)
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


async def read_stored_response(request: web.Request, key: str, endpoint: str, fingerprint: bytes) -> store.StoredAnswer:
    """The response stored under the key of a request.

    Raises:
        Problem: 422 if the key was used for another request, 503 if nothing is stored under it.
    """
    stored = await store.stored_answer(request.app[ENGINE].pool, key)
    if stored is None:
        # Neither inserted nor stored: the client has too many waiting requests.
        raise too_much_waiting()
    first = stored.request
    request[ROW] = first
    if first.endpoint != endpoint or not same_meaning(stored.fingerprint, fingerprint):
        raise Problem("idempotency-mismatch", "The key was used for another request.")
    return stored
