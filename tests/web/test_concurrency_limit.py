"""Limits on what is in progress at once: requests, bodies and streams, in all and for each client."""

import asyncio
from dataclasses import replace

import pytest

from reportsim.core.problems import Problem
from reportsim.settings import Settings
from reportsim.web.limits import concurrency_limit
from reportsim.web.limits.concurrency_limit import ConcurrencyLimit
from tests.api.calls import held_for, post, read, until
from tests.conftest import serving
from tests.web.raw import connected

LATER = {"X-Forwarded-For": "192.0.2.1"}


def test_places_are_given_back_whatever_happens() -> None:
    places = ConcurrencyLimit("things", 2, 1)
    for _ in range(3):
        with pytest.raises(ZeroDivisionError), places.permit("a"):
            raise ZeroDivisionError
    with places.permit("a"), places.permit("b"):
        for client, status in (("a", 429), ("b", 429), ("c", 503)):
            with pytest.raises(Problem) as refused, places.permit(client):
                pass
            assert refused.value.status == status
            assert int(refused.value.headers["Retry-After"]) >= 1
    with places.permit("a"):
        pass


async def test_one_sync_request_too_many_is_503_while_all_else_is_served(settings: Settings) -> None:
    async with serving(replace(settings, workers=1, sync_max=2)) as service:
        waiting = [asyncio.create_task(service.client.post("/api/sync", json=held_for(400))) for _ in range(2)]
        await until(lambda: asyncio.sleep(0.01, service.engine.counts.accepted["sync"] == 2))
        status, headers, problem = await post(service, "/api/sync")
        assert (status, problem["type"]) == (503, "/problems/unavailable")
        # schemathesis_checks.py knows it by this text.
        assert problem["detail"] == "There are already 2 sync requests, the maximum."
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
