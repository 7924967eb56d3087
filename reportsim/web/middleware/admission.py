"""Refuses new work while the service is not ready, and callbacks of the service itself."""

from typing import Final

from aiohttp import web
from aiohttp.typedefs import Handler, Middleware

from reportsim.core.problems import Problem, unavailable
from reportsim.core.signing import is_signed_by
from reportsim.engine.engine import DEMO_PATH
from reportsim.web.body import read_body
from reportsim.web.keys import DRAINING, ENGINE, READY
from reportsim.web.middleware.origin import SAFE_METHODS

# A callback may be larger than what the API takes.
MAX_CALLBACK_BYTES: Final = 1024 * 1024


def refuse_new_work() -> Middleware:
    """Until the service is ready and while it stops, new work is refused; callbacks of its own are let in."""

    @web.middleware
    async def middleware(request: web.Request, handler: Handler) -> web.StreamResponse:
        if request.method not in SAFE_METHODS and not request.path.startswith(DEMO_PATH):
            if request.app[DRAINING].is_set():
                raise unavailable("The service is stopping.")
            if not request.app[READY].is_set():
                raise unavailable("The service is waiting for its database.")
        return await handler(request)

    return middleware


def refuse_own_callbacks() -> Middleware:
    """Refuses callbacks of this service that a relay leads back to it, except at the demo receiver.

    Its own address is never called, but somebody else's may pass on what it gets: whoever names such a URL would have
    the service cancel and redeliver by its own signed requests.
    """

    @web.middleware
    async def middleware(request: web.Request, handler: Handler) -> web.StreamResponse:
        signed = "webhook-signature" in request.headers and request.method not in SAFE_METHODS
        if signed and not request.path.startswith(DEMO_PATH):
            body = await read_body(request, MAX_CALLBACK_BYTES)
            if is_signed_by(request.app[ENGINE].courier.secrets, request.headers, body):
                raise Problem("own-callback", "This is a callback of this service; only /webhook-test/ takes those.")
        return await handler(request)

    return middleware
