"""Rate limits: a leaky bucket per client and policy, which refuses instead of waiting."""

import contextlib
import functools
import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from hashlib import blake2b
from typing import Final, NamedTuple, NoReturn

from aiohttp import web
from aiohttp.typedefs import Handler
from aiolimiter import AsyncLimiter

from reportsim.core.model import Mode
from reportsim.core.problems import Problem, quota_exceeded
from reportsim.processes.buckets import KEY_BYTES, BucketTable
from reportsim.web.benchmark_runs import find_visit
from reportsim.web.keys import EXTRA_HEADERS, VISIT
from reportsim.web.limits.client_address import client_key
from reportsim.web.responses import problem_response

WINDOW_S: Final = 60
# Quotas that a bucket may be over its own.
MAX_DEBT: Final = 10
# Clients whose hash is remembered.
HASHES: Final = 10_000


class Bucket(AsyncLimiter):
    """aiolimiter's leaky bucket with a level that is kept elsewhere, which it also reports."""

    __slots__ = ()

    def load(self, level: float, checked: float) -> None:
        """Becomes the bucket that had a level at some time."""
        self._level, self._last_check = level, checked

    def save(self) -> tuple[float, float]:
        """The level, and the time at which it was that."""
        return self._level, self._last_check

    def take_up_to(self, count: int) -> int:
        """Takes as many requests as the bucket has room for, at most `count`, and returns how many."""
        self.has_capacity()  # leaks what is due
        taken = max(min(count, math.floor(self.max_rate - self._level)), 0)
        self._level += taken
        return taken

    def give_back(self, count: int) -> None:
        """Returns requests that were taken and not made."""
        self._level = max(self._level - count, 0.0)

    def add(self, count: int) -> None:
        """Adds requests that were made elsewhere, even beyond the quota: what exceeds it has to leak as well."""
        self.has_capacity()
        self._level = min(max(self._level + count, 0.0), MAX_DEBT * self.max_rate)

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
    """A bucket per policy and client, shared by all processes of a service.

    Where the table is full, the least recently used bucket of a few is replaced, and its client starts with an empty
    one.
    """

    def __init__(self, quotas: Mapping[str, int], table: BucketTable | None = None) -> None:
        """Takes requests per minute for each policy; 0 means no limit."""
        self._quotas = quotas
        self._table = BucketTable() if table is None else table
        self._buckets = {policy: Bucket(max(quota, 1), WINDOW_S) for policy, quota in quotas.items()}
        self.on_use: Callable[[str, bytes, int], None] = lambda policy, client, count: None
        """Is told of each use: the policy, the hash of the client, and how many requests."""
        self.set_key(b"")

    def set_key(self, key: bytes) -> None:
        """Sets the key of the hash by which clients are known; processes and replicas that share one know the same."""

        def hash_client(policy: str, client: str) -> bytes:
            return blake2b(f"{policy} {client}".encode(), digest_size=KEY_BYTES, key=key).digest()

        self._hash = functools.lru_cache(HASHES)(hash_client)

    def applies(self, policy: str) -> bool:
        """Whether a policy has a limit."""
        return bool(self._quotas[policy])

    def take(self, policy: str, client: str) -> Decision:
        """Takes one request from a client's bucket, if it has room."""
        key = self._hash(policy, client)
        with self._bucket(policy, key) as bucket:
            allowed = bucket.take_up_to(1) == 1
        if allowed:
            self.on_use(policy, key, 1)
        return self._decide(policy, bucket, allowed)

    def take_up_to(self, policy: str, client: str, count: int) -> int:
        """Takes at most `count` requests from a client's bucket, and returns how many; all without a limit."""
        if not self._quotas[policy]:
            return count
        key = self._hash(policy, client)
        with self._bucket(policy, key) as bucket:
            taken = bucket.take_up_to(count)
        self.on_use(policy, key, taken)
        return taken

    def give_back(self, policy: str, client: str, count: int) -> Decision:
        """Returns requests that were taken and not made."""
        key = self._hash(policy, client)
        with self._bucket(policy, key) as bucket:
            bucket.give_back(count)
        self.on_use(policy, key, -count)
        return self._decide(policy, bucket, True)

    def add(self, policy: str, key: bytes, count: int) -> None:
        """Adds what a client, named by its hash, has used of another replica."""
        if self._quotas.get(policy):
            with self._bucket(policy, key) as bucket:
                bucket.add(count)

    def _decide(self, policy: str, bucket: Bucket, allowed: bool) -> Decision:
        return make_decision(policy, self._quotas[policy], allowed, *bucket.state())

    @contextlib.contextmanager
    def _bucket(self, policy: str, key: bytes) -> Iterator[Bucket]:
        """A client's bucket, which is stored at the end of the block; other processes wait for that."""
        bucket, table = self._buckets[policy], self._table
        locked = table.lock(key)
        try:
            bucket.load(*table.read(key))
            yield bucket
            table.write(key, *bucket.save())
        finally:
            if locked:
                table.unlock(key)


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
                decision = limits.take(policy, client_key(request))
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
    setting = f"REPORTSIM_{policy.upper()}_RATE"
    detail = f"The {policy} quota is used up. To lift it, start the service with {setting}=0."
    return quota_exceeded(policy, detail, retry_after)
