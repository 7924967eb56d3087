"""The responses for errors: problem documents."""

import errno
import logging
import socket
import struct
from collections.abc import Callable
from typing import Final

from aiohttp import web

from reportsim.core.json import dumps
from reportsim.core.problems import Problem, plain, unavailable
from reportsim.store.batcher import Overloaded
from reportsim.store.pool import OUTAGES
from reportsim.web.keys import REQUEST_ID, STARTED_RESPONSE
from reportsim.web.responses import PROBLEM_JSON

log = logging.getLogger("reportsim.http")

# Errors of the operating system that may pass.
SHORTAGES: Final = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ENOBUFS, errno.ENOSPC, errno.EDQUOT})
# SO_LINGER on with zero seconds: closing resets the connection.
NO_LINGER: Final = struct.pack("ii", 1, 0)
SLUG_OF_STATUS: Final = {404: "not-found", 405: "method-not-allowed", 413: "too-large"}
ProblemRenderer = Callable[[web.Request, Problem], web.Response]


def error_response(request: web.Request, error: Exception, render: ProblemRenderer) -> web.StreamResponse:
    """The response for an error, a problem rendered by `render`; the details of unexpected errors are only logged."""
    if (response := request.get(STARTED_RESPONSE)) is not None:
        # A second response would end up inside the first.
        return abort_response(request, response, error)
    match error:
        case Problem():
            return render(request, error)
        case web.HTTPException():
            if error.status < 400:
                raise error
            return http_error_response(request, error, render)
        case _ if isinstance(error, (*OUTAGES, Overloaded)):
            detail = "The database cannot be reached at the moment."
        case OSError() if error.errno in SHORTAGES:
            detail = "The service is short of files, memory or disk at the moment."
        case _:
            log.error("%s %s failed", request.method, request.path, exc_info=error)
            return render(request, Problem("internal-error", "The service failed unexpectedly."))
    log.warning("%s %s could not be served: %r", request.method, request.path, error)
    return render(request, unavailable(detail))


def abort_response(request: web.Request, response: web.StreamResponse, error: Exception) -> web.StreamResponse:
    """Resets the connection of a response that cannot be completed, so that no client takes it for complete."""
    level = logging.DEBUG if isinstance(error, ConnectionError) else logging.ERROR
    log.log(level, "%s %s failed after the response had started", request.method, request.path, exc_info=error)
    if (transport := request.transport) is not None:
        if (stream := transport.get_extra_info("socket")) is not None:
            stream.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, NO_LINGER)
        transport.abort()
    return response


def http_error_response(request: web.Request, error: web.HTTPException, render: ProblemRenderer) -> web.Response:
    """The problem for an error of aiohttp, with the headers that belong to it."""
    headers = {name: error.headers[name] for name in ("Allow", "Retry-After") if name in error.headers}
    slug = SLUG_OF_STATUS.get(error.status)
    if slug:
        detail = (
            f"{request.method} is not allowed here." if error.status == 405 else f"There is nothing at {request.path}."
        )
        return render(request, Problem(slug, detail, headers=headers))
    document = {**plain(error.status), "request_id": request.get(REQUEST_ID)}
    return web.Response(status=error.status, body=dumps(document), content_type=PROBLEM_JSON, headers=headers)
