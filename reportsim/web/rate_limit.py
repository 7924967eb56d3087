"""Limits: on the rate, a leaky bucket per client and policy that refuses instead of waiting; on what runs at once."""

import contextlib
import functools
import math
import re
from collections import Counter, OrderedDict
from collections.abc import Iterator, Mapping, Sequence
from ipaddress import IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import Final, NamedTuple

from aiolimiter import AsyncLimiter

from reportsim.core.problems import quota_exceeded, unavailable

WINDOW_S: Final = 60
MOST_CLIENTS: Final = 100_000
HOP: Final = re.compile(r'(?:"[^"]*"|[^",])+')
FOR: Final = re.compile(r'(?:^|;)\s*for\s*=\s*("[^"]*"|[^;,\s]*)', re.IGNORECASE)


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


class Places:
    """A bounded number of places, in all and for each client; whoever finds none is asked to come back."""

    def __init__(self, what: str, most: int, most_each: int | None = None) -> None:
        """Takes what the places are for, as problems name it, and how many there are."""
        self._what = what
        self._most = most
        self._most_each = most if most_each is None else most_each
        self._taken: Counter[str] = Counter()
        self._sum = 0

    @contextlib.contextmanager
    def place(self, client: str = "") -> Iterator[None]:
        """Keeps a place as long as the block lasts.

        Raises:
            Problem: 429 when the client has all of its places, 503 when everybody together has.
        """
        if self._taken[client] >= self._most_each < self._most:
            raise quota_exceeded(self._what, f"There are {self._most_each:,} {self._what} of yours already.", 1)
        if self._sum >= self._most:
            raise unavailable(f"There are {self._most:,} {self._what} already.")
        self._taken[client] += 1
        self._sum += 1
        try:
            yield
        finally:
            self._sum -= 1
            self._taken[client] -= 1
            if not self._taken[client]:
                del self._taken[client]


Network = IPv4Network | IPv6Network


def parse_networks(texts: Sequence[str]) -> tuple[Network, ...]:
    """Networks from their CIDRs."""
    return tuple(ip_network(text) for text in texts)


def client_of(peer: str, forwarded_for: Sequence[str], trusted: Sequence[Network]) -> str:
    """The client's address: the peer, or what trusted proxies say, read from right to left.

    Reading stops at the first address that is no trusted proxy, and before anything that is no address.
    """
    client = peer
    hops = [hop.strip() for line in forwarded_for for hop in line.split(",")]
    while hops and is_within(client, trusted):
        hop = bare(hops.pop())
        if hop is None:
            break
        client = hop
    return client


def forwarded_for(values: Sequence[str]) -> list[str]:
    """The `for` of each hop in Forwarded headers (RFC 7239); a hop without one, or an obfuscated one, is no address."""
    hops = [hop for value in values for hop in HOP.findall(value)]
    found = [FOR.search(hop) for hop in hops]
    return [match[1] if match else "unknown" for match in found]


def is_within(address: str, networks: Sequence[Network]) -> bool:
    """Whether an address lies in one of the networks."""
    try:
        parsed = ip_address(address)
    except ValueError:
        return False
    # A socket for both families shows IPv4 clients as mapped addresses.
    if isinstance(parsed, IPv6Address) and parsed.ipv4_mapped:
        parsed = parsed.ipv4_mapped
    return any(parsed in network for network in networks)


def bare(hop: str) -> str | None:
    """An address without port and brackets; None when it is none."""
    text = hop.strip('"')
    if text.startswith("["):
        text = text[1:].partition("]")[0]
    elif text.count(":") == 1:
        text = text.partition(":")[0]
    try:
        return str(ip_address(text))
    except ValueError:
        return None


@functools.lru_cache(10_000)
def bucket_key(address: str) -> str:
    """The key of a client: an IPv4 address, or the /64 of an IPv6 address, since one user has all of it."""
    try:
        parsed = ip_address(address)
    except ValueError:
        return address
    if isinstance(parsed, IPv6Address):
        if parsed.ipv4_mapped:
            return str(parsed.ipv4_mapped)
        return str(IPv6Network((int(parsed) >> 64 << 64, 64)))
    return str(parsed)
