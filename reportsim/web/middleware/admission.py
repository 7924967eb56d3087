"""Refuses new work while the service is not ready, and callbacks of the service itself."""

from collections.abc import Awaitable
from typing import Final

from aiohttp import web

from reportsim.core.problems import Problem, unavailable
from reportsim.core.signing import is_signed_by
from reportsim.engine.own_addresses import DEMO_PATH
from reportsim.web.body import read_body
from reportsim.web.keys import DRAINING, ENGINE, READY
from reportsim.web.middleware.origin import SAFE_METHODS

# Callbacks may be larger than request bodies of the API.
MAX_CALLBACK_BYTES: Final = 1024 * 1024


def refuse_new_work(request: web.Request) -> None:
    """Refuses new work until the service is ready and while it stops, except callbacks to the demo receiver.

    Raises:
        Problem: 503.
    """
    if request.method in SAFE_METHODS or request.path.startswith(DEMO_PATH):
        return
    app = request.app
    if app[DRAINING].is_set():
        raise unavailable("The service is stopping.")
    if not app[READY].is_set():
        raise unavailable("The service is waiting for its database.")


def refuse_own_callback(request: web.Request) -> Awaitable[None] | None:
    """Refuses callbacks of this service that a relay sends back to it, except at the demo receiver.

    The service never calls its own address, but another host may forward what it receives. Such a URL could be used to
    make the service cancel or redeliver requests with its own signature.
    """
    signed = "webhook-signature" in request.headers and request.method not in SAFE_METHODS
    return verify_foreign(request) if signed and not request.path.startswith(DEMO_PATH) else None


async def verify_foreign(request: web.Request) -> None:
    """Reads a signed body and checks that its signature is not of this service.

    Raises:
        Problem: 403.
    """
    body = await read_body(request, MAX_CALLBACK_BYTES)
    if is_signed_by(request.app[ENGINE].dispatcher.secrets, request.headers, body):
        raise Problem("own-callback", "This is a callback of this service; only /webhook-test/ accepts those.")
