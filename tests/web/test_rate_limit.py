"""Rate limits on a clock of the test's own: what the headers promise is kept, and memory is bounded."""

import asyncio
import re
from asyncio.events import _get_running_loop, _set_running_loop
from typing import cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reportsim.processes.buckets import PLACES, BucketTable
from reportsim.web.limits.client_address import address_key, forwarded_for, parse_networks, resolve_client
from reportsim.web.limits.rate_limit import Decision, RateLimits

QUOTAS = st.one_of(st.integers(1, 120), st.sampled_from([600, 997, 6_000, 1_000_000]))
# Times that a double holds exactly: what adding them up would lose is not the bucket's fault.
SECONDS = st.integers(0, 90 * 1024).map(lambda ticks: ticks / 1024)
STARTS = st.integers(0, 10**10).map(lambda ticks: ticks / 1024)
RESOLUTION_S = 1e-6
RATE_LIMIT = re.compile(r'"(\w+)";r=(\d+);t=(\d+)')


class FakeLoop:
    """A loop of which aiolimiter sees the time alone."""

    def __init__(self, now: float = 0.0) -> None:
        self.now = now

    def time(self) -> float:
        return self.now

    def is_closed(self) -> bool:
        return False


class Client:
    """One who asks under a clock that only the test moves."""

    def __init__(
        self, limits: RateLimits, *, start: float = 1000.0, name: str = "192.0.2.1", policy: str = "sync"
    ) -> None:
        self.limits = limits
        self.loop = FakeLoop(start)
        self.name = name
        self.policy = policy

    def ask(self) -> Decision:
        before = _get_running_loop()
        _set_running_loop(cast(asyncio.AbstractEventLoop, self.loop))
        try:
            return self.limits.take(self.policy, self.name)
        finally:
            _set_running_loop(before)

    def wait(self, seconds: float) -> None:
        self.loop.now += seconds


def told(verdict: Decision) -> tuple[int, int]:
    """What the header promises: requests possible now, and seconds until one more is."""
    match = RATE_LIMIT.fullmatch(verdict.headers["RateLimit"])
    assert match
    return int(match[2]), int(match[3])


def test_a_burst_of_the_quota_passes_and_one_more_does_not() -> None:
    client = Client(RateLimits({"sync": 30}))
    burst = [client.ask() for _ in range(30)]
    assert all(verdict.allowed for verdict in burst)
    assert [told(verdict)[0] for verdict in burst] == list(range(29, -1, -1))
    refused = client.ask()
    assert not refused.allowed
    assert refused.headers == {"RateLimit-Policy": '"sync";q=30;w=60', "RateLimit": '"sync";r=0;t=2'}
    assert refused.retry_after == 2


def test_the_quota_comes_back_evenly() -> None:
    client = Client(RateLimits({"sync": 30}))
    while client.ask().allowed:
        pass
    client.wait(1.9)
    assert not client.ask().allowed
    client.wait(0.1)
    assert client.ask().allowed
    client.wait(60)
    assert sum(client.ask().allowed for _ in range(40)) == 30


def test_a_refusal_costs_nothing() -> None:
    client = Client(RateLimits({"sync": 2}))
    while client.ask().allowed:
        pass
    for _ in range(100):
        assert not client.ask().allowed
    client.wait(30)
    assert client.ask().allowed


def test_clients_and_policies_have_buckets_of_their_own() -> None:
    limits = RateLimits({"sync": 1, "async": 1})
    clients = [
        Client(limits),
        Client(limits, name="192.0.2.2"),
        Client(limits, policy="async"),
    ]
    assert [client.ask().allowed for client in clients * 2] == [True] * 3 + [False] * 3


def test_a_quota_of_zero_does_not_apply() -> None:
    limits = RateLimits({"sync": 0, "async": 1})
    assert not limits.applies("sync")
    assert limits.applies("async")


def test_retry_after_is_never_zero() -> None:
    client = Client(RateLimits({"sync": 1_000_000}))
    while (verdict := client.ask()).allowed and told(verdict)[0] > 999_990:
        assert verdict.retry_after == 1


@given(QUOTAS, STARTS, st.lists(st.tuples(st.integers(0, 200), SECONDS), max_size=30))
def test_who_follows_the_headers_is_never_refused(quota: int, start: float, plan: list[tuple[int, float]]) -> None:
    """As many at once as r allows, or one after t seconds; rests in between change nothing."""
    client = Client(RateLimits({"sync": quota}), start=start)
    verdict = client.ask()
    for burst, rest in plan:
        left, seconds = told(verdict)
        if not left:
            client.wait(seconds + RESOLUTION_S)
            left = 1
        for _ in range(min(burst, left)):
            verdict = client.ask()
            assert verdict.allowed
        client.wait(rest)


@given(QUOTAS, STARTS, st.lists(SECONDS, max_size=30))
def test_who_retries_after_the_time_told_is_served(quota: int, start: float, waits: list[float]) -> None:
    client = Client(RateLimits({"sync": min(quota, 1_000)}), start=start)
    for wait in waits:
        client.wait(wait)
        while (verdict := client.ask()).allowed:
            pass
        client.wait(verdict.retry_after + RESOLUTION_S)
        assert client.ask().allowed


@given(QUOTAS, STARTS, st.lists(SECONDS, max_size=30))
def test_the_headers_promise_no_less_than_there_is(quota: int, start: float, waits: list[float]) -> None:
    client = Client(RateLimits({"sync": min(quota, 1_000)}), start=start)
    for wait in waits:
        client.wait(wait)
        verdict = client.ask()
        left, seconds = told(verdict)
        for _ in range(left):
            assert client.ask().allowed
        refused = client.ask()
        assert not refused.allowed
        assert told(refused)[0] == 0
        assert 0 < told(refused)[1] <= max(60 // quota + 1, 1)
        assert (seconds == 0) == (left == quota)


@given(QUOTAS, st.lists(SECONDS, min_size=1, max_size=200))
def test_no_more_passes_than_a_burst_and_the_refill(quota: int, waits: list[float]) -> None:
    quota = min(quota, 120)
    client = Client(RateLimits({"sync": quota}))
    passed = 0
    for wait in waits:
        client.wait(wait)
        passed += client.ask().allowed
    assert passed <= quota + sum(waits) * quota / 60 + 1e-6


def test_where_there_is_no_room_the_client_seen_longest_ago_starts_anew() -> None:
    client = Client(RateLimits({"sync": 1}, BucketTable(sets=1)))

    def is_served(number: int) -> bool:
        client.name = f"192.0.2.{number}"
        client.wait(0.01)
        return client.ask().allowed

    assert all(is_served(number) for number in range(PLACES))
    assert not is_served(0)
    assert is_served(PLACES)
    assert not is_served(0)
    assert is_served(1)


def test_a_hundred_thousand_clients_have_room_at_once() -> None:
    limits = RateLimits({"sync": 1})
    clients = [Client(limits, name=f"2001:db8:{n:x}::/64") for n in range(100_000)]
    for client in clients:
        assert client.ask().allowed
    kept = sum(not client.ask().allowed for client in clients[-1_000:] + clients[:1_000])
    assert kept >= 1_990


class TestClient:
    TRUSTED = parse_networks(["10.0.0.0/8", "2001:db8:1::/48"])

    @pytest.mark.parametrize(
        ("peer", "forwarded", "client"),
        [
            ("192.0.2.1", [], "192.0.2.1"),
            ("192.0.2.1", ["198.51.100.1"], "192.0.2.1"),
            ("10.0.0.1", [], "10.0.0.1"),
            ("10.0.0.1", ["198.51.100.1"], "198.51.100.1"),
            ("10.0.0.1", ["198.51.100.1, 10.9.9.9"], "198.51.100.1"),
            ("10.0.0.1", ["203.0.113.9, 198.51.100.1"], "198.51.100.1"),
            ("10.0.0.1", ["198.51.100.1", "10.0.0.2"], "198.51.100.1"),
            ("10.0.0.1", ["198.51.100.1", "203.0.113.9"], "203.0.113.9"),
            ("10.0.0.1", ["10.0.0.3, 10.0.0.2"], "10.0.0.3"),
            ("10.0.0.1", ["198.51.100.1:4711"], "198.51.100.1"),
            ("10.0.0.1", ["[2001:db8::7]:4711"], "2001:db8::7"),
            ("10.0.0.1", ["2001:DB8::7"], "2001:db8::7"),
            ("10.0.0.1", ["unknown"], "10.0.0.1"),
            ("10.0.0.1", ["198.51.100.1, unknown, 10.0.0.2"], "10.0.0.2"),
            ("10.0.0.1", ["", " , "], "10.0.0.1"),
            ("10.0.0.1", ["evil' OR 1=1"], "10.0.0.1"),
            ("2001:db8:1::1", ["198.51.100.1"], "198.51.100.1"),
            ("::ffff:10.0.0.1", ["198.51.100.1"], "198.51.100.1"),
            ("10.0.0.1", ["198.51.100.1, ::ffff:10.0.0.2"], "198.51.100.1"),
            ("", ["198.51.100.1"], ""),
        ],
    )
    def test_is_the_last_one_that_trusted_proxies_vouch_for(self, peer: str, forwarded: list[str], client: str) -> None:
        assert resolve_client(peer, forwarded, self.TRUSTED) == client

    @given(st.lists(st.text(max_size=40), max_size=5))
    def test_is_the_peer_whatever_is_said_when_nobody_is_trusted(self, forwarded: list[str]) -> None:
        assert resolve_client("192.0.2.1", forwarded, ()) == "192.0.2.1"

    @given(st.text(max_size=40), st.lists(st.text(max_size=60), max_size=5))
    def test_any_text_is_read_without_an_error(self, peer: str, forwarded: list[str]) -> None:
        address_key(resolve_client(peer, forwarded, self.TRUSTED))


class TestForwarded:
    @pytest.mark.parametrize(
        ("values", "hops"),
        [
            ([], []),
            (["for=192.0.2.43"], ["192.0.2.43"]),
            (["For=192.0.2.43;proto=https;by=203.0.113.43"], ["192.0.2.43"]),
            (['for="[2001:db8:cafe::17]:4711"'], ["[2001:db8:cafe::17]:4711"]),
            (["for=192.0.2.43, for=198.51.100.17"], ["192.0.2.43", "198.51.100.17"]),
            (["for=192.0.2.43", "for=198.51.100.17;proto=http"], ["192.0.2.43", "198.51.100.17"]),
        ],
    )
    def test_names_each_hop(self, values: list[str], hops: list[str]) -> None:
        assert [hop.strip('"') for hop in forwarded_for(values)] == hops

    @pytest.mark.parametrize("value", ["for=unknown", "for=_hidden", "proto=https", 'for="_gazonk"', "by=203.0.113.43"])
    def test_a_hop_that_hides_is_no_address(self, value: str) -> None:
        assert resolve_client("10.0.0.1", forwarded_for([value]), TestClient.TRUSTED) == "10.0.0.1"

    @given(st.lists(st.text(max_size=60), max_size=4))
    def test_any_text_is_read_without_an_error(self, values: list[str]) -> None:
        resolve_client("10.0.0.1", forwarded_for(values), TestClient.TRUSTED)


class TestKey:
    @pytest.mark.parametrize(
        ("address", "key"),
        [
            ("192.0.2.1", "192.0.2.1"),
            ("2001:db8::1", "2001:db8::/64"),
            ("2001:db8::ffff:ffff:ffff:ffff", "2001:db8::/64"),
            ("2001:db8:0:1::1", "2001:db8:0:1::/64"),
            ("fe80::1%eth0", "fe80::/64"),
            ("::ffff:192.0.2.1", "192.0.2.1"),
            ("::1", "::/64"),
            ("", ""),
            ("nonsense", "nonsense"),
        ],
    )
    def test_is_the_address_or_its_64(self, address: str, key: str) -> None:
        assert address_key(address) == key

    @given(st.ip_addresses(v=6, network="2001:db8:5:6::/64"))
    def test_is_one_for_all_that_one_user_has(self, address: object) -> None:
        assert address_key(str(address)) == "2001:db8:5:6::/64"

    @given(st.ip_addresses(v=4), st.ip_addresses(v=4))
    def test_tells_ipv4_addresses_apart(self, one: object, other: object) -> None:
        assert (address_key(str(one)) == address_key(str(other))) == (one == other)


def test_very_many_clients_take_no_more_memory() -> None:
    table = BucketTable(sets=4)
    limits = RateLimits({"sync": 1, "async": 1}, table)
    for n in range(1_000):
        for policy in ("sync", "async"):
            Client(limits, name=f"198.51.100.{n}", policy=policy).ask()
    assert len(table) == 4 * PLACES
