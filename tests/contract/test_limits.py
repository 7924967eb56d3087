"""Rates and places: refused before anything is done, told in today's headers, bounded in memory."""

import asyncio
import tracemalloc
from dataclasses import replace
from typing import Any

import pytest

from reportsim.core.problems import Problem
from reportsim.settings import Settings
from reportsim.web.limits import concurrency_limit
from reportsim.web.limits.concurrency_limit import ConcurrencyLimit
from reportsim.web.limits.rate_limit import MAX_CLIENTS, RateLimits
from tests.api.calls import TINY, held_for, read, until
from tests.conftest import Service, serving
from tests.contract.raw import connected

LATER = {"X-Forwarded-For": "192.0.2.1"}


async def post(service: Service, path: str, body: Any = TINY, **headers: str) -> tuple[int, Any, Any]:
    headers = {name.replace("_", "-"): value for name, value in headers.items()}
    async with service.client.post(path, json=body, headers=headers) as answer:
        return answer.status, answer.headers, await answer.json()


async def test_a_refusal_needs_neither_the_database_nor_a_key(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with serving(replace(settings, sync_rate=1)) as service:
        assert (await post(service, "/api/sync", X_Idempotency_Key="once"))[0] == 200
        monkeypatch.setattr(service.engine, "ledgers", None)
        status, headers, problem = await post(service, "/api/sync", X_Idempotency_Key="once")
        assert status == 429
        assert "Idempotent-Replayed" not in headers
        assert problem["violated-policies"] == ["sync"]


async def test_the_headers_are_those_of_the_current_draft_alone(settings: Settings) -> None:
    async with serving(replace(settings, async_rate=5)) as service:
        _, headers, _ = await post(service, "/api/async")
    told = {name.lower() for name in headers if "ratelimit" in name.lower().replace("-", "")}
    assert told == {"ratelimit", "ratelimit-policy"}


async def test_a_redirect_is_not_held_back_by_an_empty_quota(settings: Settings) -> None:
    async with serving(replace(settings, async_rate=1)) as service:
        form = {"mode": "async", "ledger": "tiny"}
        async with service.client.post("/", data=form, allow_redirects=False) as answer:
            assert answer.status == 303
            assert "RateLimit" not in answer.headers
        async with service.client.post("/", data=form, allow_redirects=False) as answer:
            assert (answer.status, answer.content_type) == (429, "text/html")
            assert answer.headers["RateLimit"].startswith('"async";r=0;t=')
            assert int(answer.headers["Retry-After"]) >= 1


async def test_streams_and_metrics_are_not_charged(settings: Settings) -> None:
    async with serving(replace(settings, sync_rate=1, async_rate=1)) as service:
        for path in ("/metrics", "/api/events", "/api/requests", "/openapi.json", "/"):
            async with service.client.get(path) as answer:
                assert answer.status == 200
                assert "RateLimit" not in answer.headers


async def test_the_standard_header_names_the_client_too(settings: Settings) -> None:
    async with serving(replace(settings, sync_rate=1, trusted_proxies=("127.0.0.0/8",))) as service:
        for forwarded, status in [
            ("for=192.0.2.1", 200),
            ('for="192.0.2.1:4711";proto=https', 429),
            ("for=192.0.2.2, for=127.0.0.9", 200),
            ('for="[2001:db8::1]:80"', 200),
            ('for="[2001:db8::2]"', 429),  # the same /64
            ("for=_hidden", 200),  # no address: the proxy itself
            ("for=unknown", 429),
        ]:
            assert (await post(service, "/api/sync", Forwarded=forwarded))[0] == status, forwarded


async def test_of_two_headers_that_disagree_neither_is_believed(settings: Settings) -> None:
    """A proxy writes one of them and passes the other one on, as the client made it up."""
    async with serving(replace(settings, sync_rate=1, trusted_proxies=("127.0.0.0/8",))) as service:
        made_up = [{"Forwarded": f"for=198.51.100.{n}", "X_Forwarded_For": "192.0.2.1"} for n in range(3)] + [
            {"Forwarded": "for=192.0.2.1", "X_Forwarded_For": f"198.51.100.{n}"} for n in range(3)
        ]
        statuses = [(await post(service, "/api/sync", **headers))[0] for headers in made_up]
        assert statuses == [200] + [429] * 5
        agreeing = {"Forwarded": "for=192.0.2.1", "X_Forwarded_For": "192.0.2.1"}
        assert (await post(service, "/api/sync", **agreeing))[0] == 200


@pytest.mark.slow
def test_a_million_addresses_take_no_more_room_than_the_bound() -> None:
    limits = RateLimits({"sync": 30})

    async def come(first: int, last: int) -> None:
        for n in range(first, last):
            await limits.take("sync", f"2001:db8:{n >> 16:x}:{n & 0xFFFF:x}::/64")

    asyncio.run(come(0, 150_000))
    tracemalloc.start()
    asyncio.run(come(150_000, 160_000))
    before, _ = tracemalloc.get_traced_memory()
    asyncio.run(come(160_000, 1_000_000))
    after, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert len(limits) == MAX_CLIENTS
    # What was traced replaces what was there before tracing began; the table is at most this large.
    assert after - before < MAX_CLIENTS * 1_500


# ConcurrencyLimit


def test_places_are_given_back_whatever_happens() -> None:
    limit = ConcurrencyLimit("things", 2, 1)
    for _ in range(3):
        with pytest.raises(ZeroDivisionError), limit.permit("a"):
            raise ZeroDivisionError
    with limit.permit("a"), limit.permit("b"):
        for client, status in (("a", 429), ("b", 429), ("c", 503)):
            with pytest.raises(Problem) as refused, limit.permit(client):
                pass
            assert refused.value.status == status
            assert int(refused.value.headers["Retry-After"]) >= 1
    with limit.permit("a"):
        pass


async def test_one_sync_request_too_many_is_503_while_all_else_is_served(settings: Settings) -> None:
    async with serving(replace(settings, workers=1, sync_max=2)) as service:
        waiting = [asyncio.create_task(service.client.post("/api/sync", json=held_for(400))) for _ in range(2)]
        await until(lambda: asyncio.sleep(0.01, service.engine.counts.accepted["sync"] == 2))
        status, headers, problem = await post(service, "/api/sync")
        assert (status, problem["type"]) == (503, "/problems/unavailable")
        assert int(headers["Retry-After"]) >= 1
        assert len((await read(service, "/api/requests"))["items"]) == 2
        assert (await post(service, "/api/sync", Prefer="respond-async"))[0] == 202
        assert (await post(service, "/api/async"))[0] == 202
        for answer in await asyncio.gather(*waiting):
            async with answer:
                assert answer.status == 200
        assert (await post(service, "/api/sync"))[0] == 200


async def test_a_body_that_comes_slowly_takes_no_place(settings: Settings) -> None:
    async with serving(replace(settings, sync_max=1)) as service, connected(service.url) as (reader, writer):
        writer.write(
            b"POST /api/sync HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
            b"Content-Length: 100\r\nExpect: 100-continue\r\n\r\n"
        )
        assert b" 100 " in await reader.readline()
        writer.write(b"{")
        assert (await post(service, "/api/sync"))[0] == 200


async def test_a_client_has_so_many_streams_and_all_together_so_many(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(concurrency_limit, "MAX_STREAMS", 3)
    limited = replace(settings, streams_per_client=2, trusted_proxies=("127.0.0.0/8",))
    async with serving(limited) as service:
        mine = [await service.client.get("/api/events") for _ in range(2)]
        async with service.client.get("/api/events") as answer:
            assert answer.status == 429
            assert (await answer.json())["violated-policies"] == ["event streams"]
        mine.append(await service.client.get("/api/events", headers=LATER))
        async with service.client.get("/api/events", headers={"X-Forwarded-For": "192.0.2.2"}) as answer:
            assert answer.status == 503
            assert int(answer.headers["Retry-After"]) >= 1
        for stream in mine:
            assert stream.status == 200
            stream.close()
        await until(lambda: asyncio.sleep(0.01, not service.engine.hub.subscribers))
        async with service.client.get("/api/events") as answer:
            assert answer.status == 200
