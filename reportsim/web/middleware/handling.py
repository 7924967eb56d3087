"""The middleware around every handler: the id of a request, the checks before it, and its access log."""

import itertools
import logging
import re
import secrets
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Final

from aiohttp import web
from aiohttp.typedefs import Handler, Middleware

from reportsim.web.keys import EXTRA_HEADERS, REQUEST_ID, ROW, VISIT
from reportsim.web.middleware.problems import ProblemRenderer, error_response

log = logging.getLogger("reportsim.http")

REQUEST_ID_FORM: Final = re.compile(r"[A-Za-z0-9._~+/=@:-]{1,128}", re.ASCII)
UNLOGGED_PATHS: Final = ("/healthz", "/readyz", "/static")
ABORTED: Final = 499

Check = Callable[[web.Request], Awaitable[None] | None]
Observe = Callable[[web.Request, int, float], None]


def handle_requests(checks: Sequence[Check], *, render: ProblemRenderer, observe: Observe) -> Middleware:
    """Gives every request an id, refuses those that do not pass the checks, and turns every error into a problem.

    Args:
        checks: raise a problem for what they refuse, in this order; one that must read the body returns an awaitable.
        render: renders a problem as a response.
        observe: takes the request, the status and the seconds of every response; 499 if the client aborted it.
    """
    boot = secrets.token_hex(6)
    counter = itertools.count(1)

    async def respond(request: web.Request, handler: Handler) -> web.StreamResponse:
        try:
            for check in checks:
                if (pending := check(request)) is not None:
                    await pending
            return await handler(request)
        except Exception as error:
            return error_response(request, error, render)

    @web.middleware
    async def middleware(request: web.Request, handler: Handler) -> web.StreamResponse:
        started = time.monotonic()
        request[REQUEST_ID] = given_id(request) or f"{boot}-{next(counter):06x}"
        request[EXTRA_HEADERS], request[VISIT] = {}, None
        status = ABORTED
        try:
            response = await respond(request, handler)
            status = response.status
            return response
        finally:
            seconds = time.monotonic() - started
            observe(request, status, seconds)
            log_response(request, status, seconds)

    return middleware


def given_id(request: web.Request) -> str | None:
    """The id that the caller gave the request, if it is valid."""
    id = request.headers.get("X-Request-Id")
    return id if id is not None and REQUEST_ID_FORM.fullmatch(id) else None


def log_response(request: web.Request, status: int, seconds: float) -> None:
    """Writes the line of the access log."""
    # Refusals are in the metrics, a benchmark's requests in its result: neither may flood the log.
    level = logging.DEBUG if status == 429 or request[VISIT] else logging.INFO
    if log.isEnabledFor(level) and not request.path.startswith(UNLOGGED_PATHS):
        row = request.get(ROW)
        ids = {"request_id": request[REQUEST_ID], "row": row and str(row.id), "trace": row and (row.traceparent or "")}
        path = request.rel_url.raw_path
        log.log(level, "%s %s %d %.1f ms", request.method, path, status, seconds * 1000, extra=ids)
