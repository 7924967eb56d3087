"""Rate limits: 30 a minute for sync and 60 for async, per client, refusing instead of waiting."""

import asyncio
import re
from collections import Counter
from dataclasses import replace
from typing import Any

import pytest
from multidict import CIMultiDictProxy

from reportsim.settings import Settings
from tests.api.calls import TINY, listed
from tests.conftest import Service, serving

RATE_LIMIT = re.compile(r'"(?P<policy>[a-z]+)";r=(?P<left>\d+);t=(?P<wait>\d+)')
QUOTA = "https://iana.org/assignments/http-problem-types#quota-exceeded"


@pytest.fixture
def settings(settings: Settings) -> Settings:
    defaults = Settings()
    return replace(settings, sync_rate=defaults.sync_rate, async_rate=defaults.async_rate)


async def post(service: Service, path: str, body: Any = None, **headers: str) -> tuple[int, CIMultiDictProxy[str], Any]:
    async with service.client.post(path, json=body or TINY, headers=headers) as answer:
        return answer.status, answer.headers, await answer.json()


@pytest.mark.parametrize(("path", "policy", "quota"), [("/api/sync", "sync", 30), ("/api/async", "async", 60)])
async def test_one_more_than_the_burst_is_429_and_leaves_no_row(
    service: Service, path: str, policy: str, quota: int
) -> None:
    answers = await asyncio.gather(*(post(service, path) for _ in range(quota + 1)))
    assert Counter(status for status, _, _ in answers) == {200 if policy == "sync" else 202: quota, 429: 1}
    _, headers, problem = next(answer for answer in answers if answer[0] == 429)
    assert problem["type"] == QUOTA
    assert problem["status"] == 429
    assert problem["violated-policies"] == [policy]
    limit = RATE_LIMIT.fullmatch(headers["RateLimit"])
    assert limit is not None
    assert (limit["policy"], limit["left"]) == (policy, "0")
    assert int(headers["Retry-After"]) == int(limit["wait"]) >= 1
    assert len(await listed(service)) == quota


async def test_every_limited_answer_says_what_is_left(service: Service) -> None:
    left = []
    for _ in range(3):
        _, headers, _ = await post(service, "/api/sync")
        assert headers["RateLimit-Policy"] == '"sync";q=30;w=60'
        limit = RATE_LIMIT.fullmatch(headers["RateLimit"])
        assert limit is not None
        assert 1 <= int(limit["wait"]) <= 2
        left.append(int(limit["left"]))
    assert left == [29, 28, 27]


async def test_a_refused_submission_counts_and_says_so_too(service: Service) -> None:
    status, headers, _ = await post(service, "/api/async", {"surprise": 1})
    assert status == 422
    assert headers["RateLimit"].startswith('"async";r=59;')


async def test_the_limit_is_decided_before_the_body_is_read(settings: Settings) -> None:
    async with serving(replace(settings, sync_rate=1)) as service:
        await post(service, "/api/sync")
        async with service.client.post("/api/sync", data=b"{", headers={"Content-Type": "text/plain"}) as answer:
            assert answer.status == 429


async def test_sync_and_async_do_not_share_their_quota(settings: Settings) -> None:
    async with serving(replace(settings, sync_rate=1, async_rate=1)) as service:
        assert (await post(service, "/api/sync"))[0] == 200
        assert (await post(service, "/api/sync"))[0] == 429
        assert (await post(service, "/api/async"))[0] == 202
        # Failures are simulated on the async quota.
        status, headers, _ = await post(service, "/api/callbacks/simulate-failures")
        assert status == 429
        assert headers["RateLimit-Policy"] == '"async";q=1;w=60'


async def test_replays_cost_quota(settings: Settings) -> None:
    async with serving(replace(settings, sync_rate=2)) as service:
        statuses = [(await post(service, "/api/sync", **{"X-Idempotency-Key": "once"}))[0] for _ in range(3)]
    assert statuses == [200, 200, 429]


async def test_whoever_waits_as_long_as_told_is_served(settings: Settings) -> None:
    async with serving(replace(settings, sync_rate=60)) as service:
        await asyncio.gather(*(post(service, "/api/sync", {"surprise": 1}) for _ in range(60)))
        status, headers, _ = await post(service, "/api/sync")
        assert status == 429
        await asyncio.sleep(int(headers["Retry-After"]))
        assert (await post(service, "/api/sync"))[0] == 200


async def test_reading_is_not_limited(service: Service) -> None:
    for path in ("/api/requests", "/api/ledgers", "/healthz", "/readyz"):
        async with service.client.get(path) as answer:
            assert answer.status == 200
            assert "RateLimit" not in answer.headers
            await answer.read()


async def test_a_forwarded_address_is_believed_from_trusted_proxies_alone(settings: Settings) -> None:
    limited = replace(settings, sync_rate=1)
    async with serving(limited) as service:
        statuses = [(await post(service, "/api/sync", **{"X-Forwarded-For": f"192.0.2.{n}"}))[0] for n in (1, 2)]
    assert statuses == [200, 429]

    async with serving(replace(limited, trusted_proxies=("127.0.0.0/8",))) as service:
        for forwarded, status in [
            ("192.0.2.1", 200),
            ("192.0.2.2", 200),
            ("192.0.2.1", 429),
            ("203.0.113.9, 192.0.2.1", 429),  # what a client writes itself stands on the left
            ("192.0.2.2, 127.0.0.5", 429),
            ("2001:db8::1", 200),
            ("2001:db8::2", 429),  # the same /64
            ("[2001:db8:0:1::1]:4711", 200),
        ]:
            assert (await post(service, "/api/sync", **{"X-Forwarded-For": forwarded}))[0] == status, forwarded
