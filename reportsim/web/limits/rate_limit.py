"""Rate limits: a leaky bucket per client and policy, which refuses instead of waiting."""

import contextlib
import functools
import math
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Final, NamedTuple, NoReturn

from aiohttp import web
from aiolimiter import AsyncLimiter

from reportsim.core.model import Mode
from reportsim.core.problems import Problem, quota_exceeded
from reportsim.web.benchmark_runs import visit_of
from reportsim.web.keys import EXTRA_HEADERS, VISIT
from reportsim.web.limits.client_address import client
from reportsim.web.responses import problem_response

WINDOW_S: Final = 60
MOST_CLIENTS: Final = 100_000


class Bucket(AsyncLimiter):
    """aiolimiter's leaky bucket, which can also say how full it is."""

    __slots__ = ()

    def take_up_to(self, most: int) -> int:
        """Takes as many requests as are possible now, and says how many."""
        self.has_capacity()  # lets what has passed leak
        taken = max(min(most, math.floor(self.max_rate - self._level)), 0)
        self._level += taken
        return taken

    def give_back(self, count: int) -> None:
        """Takes back requests that were not made after all."""
        self._level = max(self._level - count, 0.0)

    def state(self) -> tuple[int, int]:
        """Whole requests possible, and the seconds until one more is, when it was last asked for capacity."""
        left = self.max_rate - self._level
        whole = max(math.floor(left), 0)
        if whole >= self.max_rate:
            return whole, 0
        return whole, math.ceil((whole + 1 - left) * self.time_period / self.max_rate)


class Verdict(NamedTuple):
    """Whether a request may go on, and the headers that say what is left."""

    allowed: bool
    retry_after: int
    headers: Mapping[str, str]


@functools.lru_cache(4_096)
def verdict(policy: str, quota: int, allowed: bool, remaining: int, wait: int) -> Verdict:
    """A verdict in words, which are the same for everybody in the same position."""
    headers = {
        "RateLimit-Policy": f'"{policy}";q={quota};w={WINDOW_S}',
        "RateLimit": f'"{policy}";r={remaining};t={wait}',
    }
    return Verdict(allowed, max(wait, 1), headers)


class Limits:
    """The buckets of one policy each; the least recently seen clients are forgotten beyond a bound.

    Limits are per process. A client that is forgotten starts with an empty bucket, which it takes
    `most_clients` other addresses to bring about.
    """

    def __init__(self, quotas: dict[str, int], most_clients: int = MOST_CLIENTS) -> None:
        """Takes requests per minute for each policy; 0 means no limit."""
        self._quotas = quotas
        self._most = most_clients
        self._buckets: OrderedDict[tuple[str, str], Bucket] = OrderedDict()

    def __len__(self) -> int:
        """How many buckets are kept."""
        return len(self._buckets)

    def applies(self, policy: str) -> bool:
        """Whether a policy limits anything."""
        return bool(self._quotas[policy])

    async def take(self, policy: str, client: str) -> Verdict:
        """Takes one request from a client's bucket, if it has one left."""
        quota = self._quotas[policy]
        bucket = self._bucket(policy, client, quota)
        allowed = bucket.has_capacity()
        if allowed:
            await bucket.acquire()
        return verdict(policy, quota, allowed, *bucket.state())

    def take_up_to(self, policy: str, client: str, most: int) -> int:
        """Takes as many requests as a client's bucket has left, at most so many; all where nothing is limited."""
        quota = self._quotas[policy]
        return self._bucket(policy, client, quota).take_up_to(most) if quota else most

    def give_back(self, policy: str, client: str, count: int) -> Verdict:
        """Puts requests back that were not made, and says what is left."""
        quota = self._quotas[policy]
        bucket = self._bucket(policy, client, quota)
        bucket.give_back(count)
        return verdict(policy, quota, True, *bucket.state())

    def _bucket(self, policy: str, client: str, quota: int) -> Bucket:
        key = (policy, client)
        bucket = self._buckets.get(key)
        if bucket is None:
            bucket = self._buckets[key] = Bucket(quota, WINDOW_S)
            if len(self._buckets) > self._most:
                self._buckets.popitem(last=False)
        else:
            self._buckets.move_to_end(key)
        return bucket


LIMITS: Final = web.AppKey("LIMITS", Limits)
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
