"""Rate limits: a leaky bucket per client and policy, which refuses instead of waiting."""

import contextlib
import functools
import math
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Final, NamedTuple, NoReturn

from aiohttp import web
from aiohttp.typedefs import Handler
from aiolimiter import AsyncLimiter

from reportsim.core.model import Mode
from reportsim.core.problems import Problem, quota_exceeded
from reportsim.web.benchmark_runs import find_visit
from reportsim.web.keys import EXTRA_HEADERS, VISIT
from reportsim.web.limits.client_address import client_key
from reportsim.web.responses import problem_response

WINDOW_S: Final = 60
MAX_CLIENTS: Final = 100_000


class Bucket(AsyncLimiter):
    """aiolimiter's leaky bucket, which also reports its level."""

    __slots__ = ()

    def take_up_to(self, count: int) -> int:
        """Takes as many requests as the bucket has room for, at most `count`, and returns how many."""
        self.has_capacity()  # leaks what is due
        taken = max(min(count, math.floor(self.max_rate - self._level)), 0)
        self._level += taken
        return taken

    def give_back(self, count: int) -> None:
        """Returns requests that were taken and not made."""
        self._level = max(self._level - count, 0.0)

    def state(self) -> tuple[int, int]:
        """Requests that are possible, and seconds until one more is, as of the last check of the capacity."""
        left = self.max_rate - self._level
        remaining = max(math.floor(left), 0)
        if remaining >= self.max_rate:
            return remaining, 0
        return remaining, math.ceil((remaining + 1 - left) * self.time_period / self.max_rate)


class Decision(NamedTuple):
    """Whether a request is allowed, and the RateLimit headers."""

    allowed: bool
    retry_after: int
    headers: Mapping[str, str]


@functools.lru_cache(4_096)
def make_decision(policy: str, quota: int, allowed: bool, remaining: int, wait: int) -> Decision:
    """A decision with its headers; cached, since many clients have the same numbers."""
    headers = {
        "RateLimit-Policy": f'"{policy}";q={quota};w={WINDOW_S}',
        "RateLimit": f'"{policy}";r={remaining};t={wait}',
    }
    return Decision(allowed, max(wait, 1), headers)


class RateLimits:
    """A bucket per policy and client; beyond `max_clients` buckets the least recently used is dropped.

    Limits are per process. A client whose bucket was dropped starts with an empty one, but dropping it takes
    requests from `max_clients` other addresses.
    """

    def __init__(self, quotas: Mapping[str, int], max_clients: int = MAX_CLIENTS) -> None:
        """Takes requests per minute for each policy; 0 means no limit."""
        self._quotas = quotas
        self._max_clients = max_clients
        self._buckets: OrderedDict[tuple[str, str], Bucket] = OrderedDict()

    def __len__(self) -> int:
        """The number of buckets."""
        return len(self._buckets)

    def applies(self, policy: str) -> bool:
        """Whether a policy has a limit."""
        return bool(self._quotas[policy])

    async def take(self, policy: str, client: str) -> Decision:
        """Takes one request from a client's bucket, if it has room."""
        bucket = self._bucket(policy, client)
        allowed = bucket.has_capacity()
        if allowed:
            await bucket.acquire()
        return make_decision(policy, self._quotas[policy], allowed, *bucket.state())

    def take_up_to(self, policy: str, client: str, count: int) -> int:
        """Takes at most `count` requests from a client's bucket, and returns how many; all without a limit."""
        return self._bucket(policy, client).take_up_to(count) if self._quotas[policy] else count

    def give_back(self, policy: str, client: str, count: int) -> Decision:
        """Returns requests that were taken and not made."""
        bucket = self._bucket(policy, client)
        bucket.give_back(count)
        return make_decision(policy, self._quotas[policy], True, *bucket.state())

    def _bucket(self, policy: str, client: str) -> Bucket:
        key = (policy, client)
        bucket = self._buckets.get(key)
        if bucket is None:
            bucket = self._buckets[key] = Bucket(self._quotas[policy], WINDOW_S)
            if len(self._buckets) > self._max_clients:
                self._buckets.popitem(last=False)
        else:
            self._buckets.move_to_end(key)
        return bucket


RATE_LIMITS: Final = web.AppKey("RATE_LIMITS", RateLimits)
Refuse = Callable[[web.Request, Problem], web.StreamResponse]


def raise_refusal(request: web.Request, problem: Problem) -> NoReturn:
    """Raises the problem, for handlers that render it themselves."""
    raise replace(problem)


def rate_limited(policy: str, refuse: Refuse = problem_response) -> Callable[[Handler], Handler]:
    """Checks the client's rate before the handler runs; `refuse` makes the response of a client over its quota.

    Requests of a benchmark run have no quota; its runner counts them instead.
    """

    def decorate(handler: Handler) -> Handler:
        @functools.wraps(handler)
        async def wrapper(request: web.Request) -> web.StreamResponse:
            visit = find_visit(request, Mode(policy))
            if visit is not None:
                request[VISIT] = visit
                with visit:
                    return await handler(request)
            limits = request.app[RATE_LIMITS]
            if limits.applies(policy):
                decision = await limits.take(policy, client_key(request))
                request[EXTRA_HEADERS] = decision.headers
                if not decision.allowed:
                    return refuse(request, quota_problem(policy, decision.retry_after))
            return await handler(request)

        return wrapper

    return decorate


@dataclass(slots=True)
class Charge:
    """How many operations a request may do, and how many it did."""

    granted: int
    used: int = 0


@contextlib.contextmanager
def charge_quota(request: web.Request, policy: str, count: int) -> Iterator[Charge]:
    """Charges each operation of a bulk request as a request of its own; `rate_limited` has charged the first.

    The block may do `granted` operations and sets `used`; the others are given back.
    """
    limits, client = request.app[RATE_LIMITS], client_key(request)
    if request[VISIT] is not None or not limits.applies(policy):
        yield Charge(count)
        return
    charge = Charge(1 + limits.take_up_to(policy, client, count - 1))
    try:
        yield charge
    finally:
        decision = limits.give_back(policy, client, charge.granted - max(charge.used, 1))
        request[EXTRA_HEADERS] = decision.headers


@functools.lru_cache(1_024)
def quota_problem(policy: str, retry_after: int) -> Problem:
    """The 429 of a client over its quota; cached, since a flood of refusals must stay cheap."""
    return quota_exceeded(policy, f"The {policy} quota is used up.", retry_after)
