"""Who asks, and whether their quota allows it: decided before anything else is read or asked."""

import functools
from collections.abc import Awaitable, Callable

from aiohttp import web

from reportsim.core.problems import quota_exceeded
from reportsim.web.keys import EXTRA_HEADERS, LIMITS, TRUSTED
from reportsim.web.limits import bucket_key, client_of, forwarded_for

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


def limited(policy: str) -> Callable[[Handler], Handler]:
    """Decides by the client's rate before anything else is read or asked."""

    def decorate(handler: Handler) -> Handler:
        @functools.wraps(handler)
        async def wrapper(request: web.Request) -> web.StreamResponse:
            limits = request.app[LIMITS]
            if limits.applies(policy):
                verdict = await limits.take(policy, client(request))
                request[EXTRA_HEADERS].update(verdict.headers)
                if not verdict.allowed:
                    raise quota_exceeded(policy, f"The {policy} quota is used up.", verdict.retry_after)
            return await handler(request)

        return wrapper

    return decorate


def client(request: web.Request) -> str:
    """The address of whoever asks, as far as trusted proxies may say."""
    trusted, peer = request.app[TRUSTED], request.remote or ""
    if not trusted:
        return peer
    standard = forwarded_for(request.headers.getall("Forwarded", []))
    common = request.headers.getall("X-Forwarded-For", [])
    if not (standard and common):
        return client_of(peer, standard or common, trusted)
    # A proxy writes one of them and passes the other on as the client sent it; which one is not known here.
    clients = {client_of(peer, standard, trusted), client_of(peer, common, trusted)}
    return clients.pop() if len(clients) == 1 else peer
