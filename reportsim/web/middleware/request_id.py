"""The id of every request, and the access log."""

import itertools
import logging
import re
import secrets
import time
from typing import Final

from aiohttp import web
from aiohttp.typedefs import Handler, Middleware

from reportsim.web.keys import EXTRA_HEADERS, REQUEST_ID, ROW_ID, TRACE, VISIT

log = logging.getLogger("reportsim.http")
REQUEST_ID_FORM: Final = re.compile(r"[A-Za-z0-9._~+/=@:-]{1,128}", re.ASCII)


def assign_request_id() -> Middleware:
    """Gives every request an id, the caller's if it is valid, and logs the response."""
    boot = secrets.token_hex(6)
    counter = itertools.count(1)

    @web.middleware
    async def middleware(request: web.Request, handler: Handler) -> web.StreamResponse:
        given = request.headers.get("X-Request-Id")
        request[REQUEST_ID] = given if given and REQUEST_ID_FORM.fullmatch(given) else f"{boot}-{next(counter):06x}"
        request[EXTRA_HEADERS] = {}
        started = time.monotonic()
        status = 499
        try:
            response = await handler(request)
            status = response.status
            return response
        finally:
            # Refusals are in the metrics, a benchmark's requests in its result: neither may flood the log.
            level = logging.DEBUG if status == 429 or VISIT in request else logging.INFO
            if log.isEnabledFor(level) and not request.path.startswith(("/healthz", "/readyz", "/static")):
                duration_ms = (time.monotonic() - started) * 1000
                ids = {"request_id": request[REQUEST_ID], "row": request.get(ROW_ID), "trace": request.get(TRACE)}
                path = request.rel_url.raw_path
                log.log(level, "%s %s %d %.1f ms", request.method, path, status, duration_ms, extra=ids)

    return middleware
