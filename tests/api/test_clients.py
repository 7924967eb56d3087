"""What one client may take of the service: never the last slot for long, and a bounded part of the queue."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import pytest

from reportsim.core.model import Status
from reportsim.core.service_time import draw
from reportsim.settings import Settings
from reportsim.store import requests as store
from reportsim.store.pool import Pool
from tests.api.calls import TINY, held_for, until
from tests.conftest import Service, serving

GREEDY, OTHER = "203.0.113.1", "203.0.113.2"
LONG_MS = 60_000


@pytest.fixture
def settings(settings: Settings) -> Settings:
    """Clients are told apart by what a proxy on this machine says; what still runs at the end is not waited for."""
    return replace(settings, trusted_proxies=("127.0.0.0/8",), sync_timeout=5.0, shutdown_grace_s=0.0)


@pytest.fixture
async def service(settings: Settings) -> AsyncIterator[Service]:
    async with serving(settings) as running:
        yield running


async def post(
    service: Service, path: str, body: dict[str, Any], client: str = GREEDY, **headers: str
) -> tuple[int, dict[str, Any]]:
    names = {name.replace("_", "-"): value for name, value in headers.items()}
    async with service.client.post(path, json=body, headers={"X-Forwarded-For": client, **names}) as answer:
        if answer.status == 503:
            assert int(answer.headers["Retry-After"]) >= 1
        return answer.status, await answer.json()


async def fill(service: Service, count: int = 6, client: str = GREEDY) -> list[str]:
    """Asks for long work at once, more than there are slots; waits until it has what it gets."""
    answers = await asyncio.gather(*(post(service, "/api/async", held_for(LONG_MS), client) for _ in range(count)))
    assert [status for status, _ in answers] == [202] * count
    return [str(body["id"]) for _, body in answers]


async def busy(service: Service, count: int) -> None:
    """Waits until so many slots are held for requests."""

    async def is_busy() -> bool:
        return service.engine.slots.busy >= count and len(service.engine.worker.running_ids) == count

    await until(is_busy)


async def status_of(service: Service, id: str) -> str:
    async with service.client.get(f"/api/requests/{id}") as answer:
        return str((await answer.json())["status"])


class TestLastSlot:
    async def test_a_client_with_long_work_leaves_a_slot_to_others_and_to_short_work_of_its_own(
        self, service: Service
    ) -> None:
        await fill(service)
        await busy(service, 3)
        for client in (OTHER, GREEDY):
            assert (await post(service, "/api/sync", TINY, client))[0] == 200
            assert (await post(service, "/api/async", TINY, client, prefer="wait=5"))[0] == 200
        assert len(service.engine.worker.running_ids) == 3

    @pytest.mark.parametrize("path", ["/api/sync", "/api/callbacks/simulate-failures"])
    async def test_no_other_way_in_takes_the_last_slot(self, service: Service, path: str) -> None:
        asking = [asyncio.create_task(post(service, path, held_for(LONG_MS))) for _ in range(5)]
        await busy(service, 3)
        assert (await post(service, "/api/sync", TINY, OTHER))[0] == 200
        assert len(service.engine.worker.running_ids) == 3
        for task in asking:
            task.cancel()
        await asyncio.gather(*asking, return_exceptions=True)

    async def test_an_ipv6_network_is_one_client(self, service: Service) -> None:
        for number in range(5):
            await fill(service, 1, f"2001:db8::{number + 1:x}")
        await busy(service, 3)
        assert (await post(service, "/api/sync", TINY, "2001:db8:0:1::1"))[0] == 200
        assert len(service.engine.worker.running_ids) == 3

    async def test_the_last_slot_is_for_the_long_work_of_somebody_else(self, service: Service) -> None:
        await fill(service)
        await busy(service, 3)
        await fill(service, 1, OTHER)
        await busy(service, 4)

    async def test_what_was_passed_over_begins_when_a_slot_comes_free_oldest_first(self, service: Service) -> None:
        ids = await fill(service, 3)
        await busy(service, 3)
        ids += await fill(service, 1) + await fill(service, 1)
        assert (await post(service, "/api/sync", TINY, OTHER))[0] == 200
        async with service.client.post(f"/api/requests/{ids[0]}/cancel") as answer:
            assert answer.status == 200

        async def begun() -> bool:
            return await status_of(service, ids[3]) == "PROCESSING"

        await until(begun)
        assert await status_of(service, ids[4]) == "PENDING"

    async def test_work_of_two_seconds_may_have_every_slot(self, service: Service) -> None:
        answers = await asyncio.gather(*(post(service, "/api/async", held_for(2_000)) for _ in range(4)))
        assert [status for status, _ in answers] == [202] * 4
        await busy(service, 4)

    async def test_with_one_slot_there_is_no_last_one(self, settings: Settings) -> None:
        async with serving(replace(settings, workers=1)) as service:
            await fill(service, 1)
            await busy(service, 1)

    async def test_what_a_dead_replica_left_is_not_given_the_last_slot_either(
        self, settings: Settings, pool: Pool
    ) -> None:
        async with serving(settings) as service:
            ids = await fill(service, 5)
            await busy(service, 3)
        await pool.execute("UPDATE requests SET status = 'PROCESSING', started_at = now(), lease_until = now()")
        async with serving(settings) as service:
            await busy(service, 3)
            assert (await post(service, "/api/sync", TINY, OTHER))[0] == 200
            assert len(service.engine.worker.running_ids) == 3
        assert len(ids) == 5


class TestBacklog:
    async def test_planned_seconds_are_bounded_for_each_client_and_a_refused_key_is_free_again(
        self, settings: Settings
    ) -> None:
        async with serving(replace(settings, workers=1, client_planned_s=120.0)) as service:
            await fill(service, 1)
            await busy(service, 1)
            first, second = await fill(service, 2)
            for path in ("/api/async", "/api/sync", "/api/callbacks/simulate-failures"):
                assert (await post(service, path, held_for(LONG_MS)))[0] == 503
            long = held_for(LONG_MS)
            assert (await post(service, "/api/async", long, X_Idempotency_Key="mine"))[0] == 503
            assert (await post(service, "/api/async", TINY))[0] == 202
            assert (await post(service, "/api/async", long, OTHER))[0] == 202
            for id in (first, second):
                async with service.client.post(f"/api/requests/{id}/cancel") as answer:
                    assert answer.status == 200
            status, accepted = await post(service, "/api/async", long, X_Idempotency_Key="mine")
            assert status == 202
            assert (await post(service, "/api/async", long))[0] == 202
            assert (await post(service, "/api/async", long))[0] == 503
            assert await post(service, "/api/async", long, X_Idempotency_Key="mine") == (202, accepted)

    async def test_the_number_of_waiting_requests_is_bounded_also_when_they_come_at_once(
        self, settings: Settings, pool: Pool
    ) -> None:
        async with serving(replace(settings, workers=1, client_waiting=5)) as service:
            await fill(service, 1)
            await busy(service, 1)
            asked = [post(service, "/api/sync", TINY, prefer="respond-async") for _ in range(20)]
            statuses = [status for status, _ in await asyncio.gather(*asked)]
            # What shares a statement sees each other; statements follow each other.
            assert statuses.count(202) == 5
            assert statuses.count(503) == 15
            assert await pool.fetchval("SELECT count(*) FROM requests") == 6

    async def test_a_form_of_the_page_is_bounded_too(self, settings: Settings) -> None:
        async with serving(replace(settings, workers=1, client_waiting=1)) as service:
            await fill(service, 1)
            await busy(service, 1)
            again = (await fill(service, 1))[0]
            headers = {"X-Forwarded-For": GREEDY, "Sec-Fetch-Site": "same-origin"}
            async with service.client.post(f"/requests/{again}/again", headers=headers, data={}) as answer:
                assert answer.status == 503


async def test_the_time_that_counts_is_the_drawn_one(service: Service, pool: Pool) -> None:
    simulate = {"service_time": {"distribution": "exponential", "mean_ms": 3_000}}
    status, body = await post(service, "/api/async", {**TINY, "simulate": simulate})
    assert status == 202
    planned = await pool.fetchval("SELECT planned_s FROM requests")
    assert planned == draw(body["input_payload"]["simulate"]).service_s


async def test_who_asked_is_stored_as_a_hash_and_shown_nowhere(service: Service, pool: Pool) -> None:
    (id,) = await fill(service, 1)
    hashed = await pool.fetchval("SELECT client FROM requests")
    assert hashed
    assert GREEDY.encode() not in hashed
    for path in (f"/api/requests/{id}", "/api/requests", f"/requests/{id}", "/", "/metrics"):
        async with service.client.get(path) as answer:
            text = await answer.text()
            assert answer.status == 200
            assert hashed.hex() not in text
            assert GREEDY not in text
            assert '"client"' not in text
            assert "planned_s" not in text
    row = await store.get_one(pool, service.engine.worker.running_ids.pop())
    assert row is not None
    assert row.status is Status.PROCESSING or row.status is Status.PENDING
    assert "client" not in repr(row)


async def test_simulate_can_be_switched_off(settings: Settings) -> None:
    async with serving(replace(settings, simulate=False)) as service:
        for path in ("/api/sync", "/api/async", "/api/callbacks/simulate-failures"):
            status, problem = await post(service, path, held_for(1))
            assert status == 422
            assert [error["pointer"] for error in problem["errors"]] == ["#/simulate"]
        assert (await post(service, "/api/sync", TINY))[0] == 200
        assert (await post(service, "/api/callbacks/simulate-failures", TINY))[0] == 202
