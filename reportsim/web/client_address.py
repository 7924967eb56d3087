"""Who asks, and whether their quota allows it: decided before anything else is read or asked.

Requests of a benchmark's run have no quota; its runner is told when they come and go.
"""

import contextlib
import functools
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass, replace
from typing import NoReturn

from aiohttp import web

from reportsim.benchmark.active_run import RunRequest
from reportsim.benchmark.load.messages import INDEX_HEADER, RUN_HEADER
from reportsim.core.model import Mode
from reportsim.core.problems import Problem, quota_exceeded
from reportsim.web.keys import EXTRA_HEADERS, LIMITS, RUNNER, TRUSTED, VISIT
from reportsim.web.middleware import problem_response
from reportsim.web.rate_limit import bucket_key, client_of, forwarded_for

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
Refuse = Callable[[web.Request, Problem], web.StreamResponse]


def raised(request: web.Request, problem: Problem) -> NoReturn:
    """Raises a refusal, for whoever tells it in another way than the API does."""
    raise replace(problem)


def limited(policy: str, refuse: Refuse = problem_response) -> Callable[[Handler], Handler]:
    """Decides by the client's rate before anything else is read or asked; `refuse` answers those who are too fast."""

    def decorate(handler: Handler) -> Handler:
        @functools.wraps(handler)
        async def wrapper(request: web.Request) -> web.StreamResponse:
            visit = visit_of(request, Mode(policy))
            if visit is not None:
                request[VISIT] = visit
                with visit:
                    return await handler(request)
            limits = request.app[LIMITS]
            if limits.applies(policy):
                verdict = await limits.take(policy, client(request))
                request[EXTRA_HEADERS] = verdict.headers
                if not verdict.allowed:
                    return refuse(request, refusal(policy, verdict.retry_after))
            return await handler(request)

        return wrapper

    return decorate


@contextlib.contextmanager
def charging(request: web.Request, policy: str, most: int) -> Iterator["Charge"]:
    """Charges what one request does to others, each as a request of its own; the first is charged already.

    The block may do `granted` of them, and says in `used` how many it did; the others are given back.
    """
    limits, who = request.app[LIMITS], client(request)
    if request.get(VISIT) is not None or not limits.applies(policy):
        yield Charge(most)
        return
    charge = Charge(1 + limits.take_up_to(policy, who, most - 1))
    try:
        yield charge
    finally:
        left = limits.give_back(policy, who, charge.granted - max(charge.used, 1))
        request[EXTRA_HEADERS] = left.headers


@dataclass(slots=True)
class Charge:
    """How much a request may do, and how much of it was done."""

    granted: int
    used: int = 0


@functools.lru_cache(1_024)
def refusal(policy: str, retry_after: int) -> Problem:
    """The same problem for everybody who has to wait for so long."""
    return quota_exceeded(policy, f"The {policy} quota is used up.", retry_after)


def visit_of(request: web.Request, mode: Mode) -> RunRequest | None:
    """The part that a request has in the benchmark's run that its header speaks for."""
    token = request.headers.get(RUN_HEADER)
    return request.app[RUNNER].find_request(mode, token, request.headers.get(INDEX_HEADER)) if token else None


def client(request: web.Request) -> str:
    """Whoever asks, by address: the peer's, or what trusted proxies say.

    A proxy writes one of the two headers and passes the other one on as the client wrote it: where they disagree,
    neither is believed.
    """
    peer = request.remote or ""
    trusted = request.app[TRUSTED]
    if not trusted:
        return bucket_key(peer)
    standard = forwarded_for(request.headers.getall("Forwarded", []))
    customary = request.headers.getall("X-Forwarded-For", [])
    said = {client_of(peer, hops, trusted) for hops in (standard, customary) if hops}
    return bucket_key(said.pop() if len(said) == 1 else peer)
