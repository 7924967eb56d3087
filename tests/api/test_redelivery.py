"""POST /api/requests/redeliver: many series at once, chosen by filters."""

from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import pytest

from reportsim.core.addresses import AllowList
from reportsim.engine.guard import Lookups
from reportsim.settings import Settings
from reportsim.store.pool import Pool
from tests.api.calls import logs_of, read, submit
from tests.conftest import Service
from tests.engine.receiver import Receiver, receiving

MANY = "/api/requests/redeliver"


@pytest.fixture
def settings(settings: Settings) -> Settings:
    return replace(settings, callback_allow=AllowList.parse("127.0.0.0/8"), callback_attempts=1)


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    """A receiver that fails until it is told otherwise."""
    async with receiving() as running:
        running.status = lambda _: 500
        yield running


async def failed(service: Service, receiver: Receiver, count: int, *, host: str = "127.0.0.1") -> list[str]:
    """Requests whose callback has failed, oldest first."""
    body = {"ledger": "tiny", "callback_url": receiver.url(host=host)}
    ids = [await submit(service, "/api/async", body) for _ in range(count)]
    for id in ids:
        assert (await service.ended(id))["callback_status"] == "FAILED"
    return ids


async def redeliver(service: Service, body: dict[str, Any] | None = None) -> dict[str, Any]:
    async with service.client.post(MANY, json=body) as answer:
        answered: dict[str, Any] = await answer.json()
        assert answer.status == 202, answered
    return answered


async def test_all_that_failed_are_delivered_again(service: Service, receiver: Receiver) -> None:
    ids = await failed(service, receiver, 3)
    receiver.status = lambda _: 200
    assert await redeliver(service, {}) == {"count": 3, "ids": ids, "more": False}
    for id in ids:
        ended = await service.ended(id)
        assert (ended["callback_status"], ended["callback_attempts"]) == ("SUCCESS", 1)
        assert [log["series"] for log in await logs_of(service, id)] == [1, 2]
    assert await redeliver(service, {}) == {"count": 0, "ids": [], "more": False}


async def test_no_body_asks_for_the_same(service: Service, receiver: Receiver) -> None:
    ids = await failed(service, receiver, 1)
    async with service.client.post(MANY) as answer:
        assert answer.status == 202
        assert (await answer.json())["ids"] == ids


async def test_a_call_starts_so_many_and_says_that_there_may_be_more(service: Service, receiver: Receiver) -> None:
    ids = await failed(service, receiver, 3)
    receiver.holds = {"hook"}
    assert await redeliver(service, {"limit": 2}) == {"count": 2, "ids": ids[:2], "more": True}
    assert await redeliver(service, {"limit": 2}) == {"count": 1, "ids": ids[2:], "more": False}


async def test_a_running_series_is_left_alone(service: Service, receiver: Receiver) -> None:
    [id] = await failed(service, receiver, 1)
    receiver.holds = {"hook"}
    assert (await redeliver(service))["count"] == 1
    assert (await redeliver(service))["count"] == 0
    async with service.client.post(f"/api/requests/{id}/redeliver") as answer:
        assert answer.status == 409
        await answer.read()


async def test_the_filters_are_those_of_the_list_and_more(service: Service, receiver: Receiver) -> None:
    first, second = await failed(service, receiver, 2)
    [other] = await failed(service, receiver, 1, host="127.0.0.2")
    receiver.holds = {"hook"}
    since = (await read(service, f"/api/requests/{second}"))["created_at"]
    for body, ids in [
        ({"callback_status": "SUCCESS"}, []),
        ({"mode": "sync"}, []),
        ({"status": "FAILED"}, []),
        ({"until": since, "since": "2020-01-01T00:00:00+01:00", "status": "COMPLETED", "mode": "async"}, [first]),
        ({"origin": f"HTTP://127.0.0.2:{receiver.port}"}, [other]),
        ({"since": since}, [second]),
    ]:
        assert (await redeliver(service, body))["ids"] == ids, body


async def test_a_destination_is_the_same_however_it_is_spelt(
    service: Service, pool: Pool, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def unknown(*_: Any) -> None:
        raise OSError("no names here")

    monkeypatch.setattr(Lookups, "resolve", unknown)
    demo = f"{service.url}/webhook-test/one"
    for origin, urls in {
        "http://h.example:80": ["http://h.example", "http://h.example:80/a?b", "HTTP://H.EXAMPLE./"],
        "https://h.example:443": ["https://h.example/", "https://h.example:443"],
        "https://h.example:8443": ["https://h.example:8443/"],
        "http://xn--bcher-kva.example:80": ["http://bücher.example", "http://xn--bcher-kva.example:80/"],
        demo: [demo, f"{demo}?script=503"],
        f"{service.url}/webhook-test/two": [f"{service.url}/webhook-test/two"],
    }.items():
        ids = [await submit(service, "/api/async", {"ledger": "tiny", "callback_url": url}) for url in urls]
        for id in ids:
            await service.ended(id)
        found = await pool.fetch("SELECT callback_origin FROM requests WHERE id = ANY($1)", ids)
        assert [row["callback_origin"] for row in found] == [origin] * len(urls)
        for url in urls if "webhook-test" not in origin else []:
            asked = {"origin": url.partition("/a")[0].removesuffix("/")}
            assert (await redeliver(service, asked))["ids"] == ids, asked
            for id in ids:
                await service.ended(id)


async def test_the_failures_that_are_simulated_have_destinations_of_their_own(service: Service, pool: Pool) -> None:
    id = await submit(service, "/api/callbacks/simulate-failures", {"ledger": "tiny", "failures": 0})
    origin = await pool.fetchval("SELECT callback_origin FROM requests WHERE id = $1", id)
    assert origin == f"{service.url}/webhook-test/{id}"


async def test_it_is_no_request_of_that_name(service: Service) -> None:
    async with service.client.get(MANY) as answer:
        assert answer.status == 405
        assert answer.headers["Allow"] == "POST"
        await answer.read()


@pytest.mark.parametrize(
    ("body", "pointer"),
    [
        ([], "#"),
        ({"callback_status": "PENDING"}, "#/callback_status"),
        ({"callback_status": None}, "#/callback_status"),
        ({"limit": 0}, "#/limit"),
        ({"limit": 1001}, "#/limit"),
        ({"limit": "5"}, "#/limit"),
        ({"since": "yesterday"}, "#/since"),
        ({"since": "2025-01-01T00:00:00"}, "#/since"),
        ({"until": "2025-02-30T00:00:00Z"}, "#/until"),
        ({"until": 5}, "#/until"),
        ({"mode": "both"}, "#/mode"),
        ({"status": "PENDING"}, "#/status"),
        ({"origin": "example.com"}, "#/origin"),
        ({"origin": "https://example.com/path"}, "#/origin"),
        ({"origin": "https://example.com:0"}, "#/origin"),
        ({"origin": "http://169.254.169.254"}, "#/origin"),
        ({"since": "0001-01-01T00:00:00+14:00"}, "#/since"),
        ({"until": "9999-12-31T23:59:59-14:00"}, "#/until"),
        ({"ids": []}, "#/ids"),
    ],
)
async def test_what_cannot_be_meant_is_refused(service: Service, body: Any, pointer: str) -> None:
    async with service.client.post(MANY, json=body) as answer:
        assert answer.status == 422
        assert [error["pointer"] for error in (await answer.json())["errors"]] == [pointer]
