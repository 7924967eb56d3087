"""Turns every error into a problem document."""

import errno
import logging
import socket
import struct
from collections.abc import Callable
from typing import Final

from aiohttp import web
from aiohttp.typedefs import Handler, Middleware

from reportsim.core.json import dumps
from reportsim.core.problems import Problem, plain, unavailable
from reportsim.store.batcher import Overloaded
from reportsim.store.pool import OUTAGES
from reportsim.web.keys import REQUEST_ID, STARTED_RESPONSE
from reportsim.web.responses import PROBLEM_JSON

log = logging.getLogger("reportsim.http")

# What the operating system refuses for a while.
SHORTAGES: Final = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ENOBUFS, errno.ENOSPC, errno.EDQUOT})
# SO_LINGER, on, for no time at all: closing resets.
NO_LINGER: Final = struct.pack("ii", 1, 0)
SLUG_OF_STATUS: Final = {404: "not-found", 405: "method-not-allowed", 413: "too-large"}
ProblemRenderer = Callable[[web.Request, Problem], web.Response]


def handle_errors(answer: ProblemRenderer) -> Middleware:
    """Turns every error into a problem, which `answer` tells; what is unexpected goes to the log, not to the client."""

    @web.middleware
    async def middleware(request: web.Request, handler: Handler) -> web.StreamResponse:
        try:
            return await handler(request)
        except Exception as error:
            if (response := request.get(STARTED_RESPONSE)) is not None:
                # A second answer would stand within the first.
                return abort_response(request, response, error)
            return error_response(request, error, answer)

    return middleware


def error_response(request: web.Request, error: Exception, answer: ProblemRenderer) -> web.StreamResponse:
    """The problem that an error is to a client."""
    match error:
        case Problem():
            return answer(request, error)
        case web.HTTPException():
            if error.status < 400:
                raise error
            return http_error_response(request, error, answer)
        case _ if isinstance(error, (*OUTAGES, Overloaded)):
            detail = "The database cannot be reached at the moment."
        case OSError() if error.errno in SHORTAGES:
            detail = "The service is short of files, memory or disk at the moment."
        case _:
            log.error("%s %s failed", request.method, request.path, exc_info=error)
            return answer(request, Problem("internal-error", "The service failed unexpectedly."))
    log.warning("%s %s could not be served: %r", request.method, request.path, error)
    return answer(request, unavailable(detail))


def abort_response(request: web.Request, response: web.StreamResponse, error: Exception) -> web.StreamResponse:
    """Ends the connection of an answer that cannot be completed, by a reset: no client shall take it for whole."""
    level = logging.DEBUG if isinstance(error, ConnectionError) else logging.ERROR
    log.log(level, "%s %s failed while it was answered", request.method, request.path, exc_info=error)
    if (transport := request.transport) is not None:
        if (stream := transport.get_extra_info("socket")) is not None:
            stream.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, NO_LINGER)
        transport.abort()
    return response


def http_error_response(request: web.Request, error: web.HTTPException, answer: ProblemRenderer) -> web.Response:
    """Aiohttp's own errors as problems, with the headers that give them meaning."""
    kept = {name: error.headers[name] for name in ("Allow", "Retry-After") if name in error.headers}
    slug = SLUG_OF_STATUS.get(error.status)
    if slug:
        detail = (
            f"{request.method} is not allowed here." if error.status == 405 else f"There is nothing at {request.path}."
        )
        return answer(request, Problem(slug, detail, headers=kept))
    document = {**plain(error.status), "request_id": request.get(REQUEST_ID)}
    return web.Response(status=error.status, body=dumps(document), content_type=PROBLEM_JSON, headers=kept)
