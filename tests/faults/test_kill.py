"""kill -9 at chosen moments: what was accepted ends as promised, and receivers see one id and no gap."""

import asyncio
import contextlib
from collections import defaultdict
from typing import Any

import aiohttp
import pytest

from tests.engine.jobs import until
from tests.engine.receiver import Receiver
from tests.faults.process import Api, Refused, ServerProcess

TINY = {"ledger": "tiny"}


def held_for(milliseconds: int) -> dict[str, Any]:
    service = {"distribution": "fixed", "mean_ms": milliseconds}
    return {**TINY, "simulate": {"service_time": service, "seed": 1}}


def check_arrivals(receiver: Receiver, id: str, attempts: int) -> None:
    """One id, one body, numbers without a gap; an attempt cut by the kill may have come twice."""
    arrivals = [arrival for arrival in receiver.arrivals if arrival.request_id == id]
    assert len({(arrival.message_id, arrival.body) for arrival in arrivals}) == 1
    numbers = [arrival.attempt for arrival in arrivals]
    assert numbers == sorted(numbers)
    assert set(numbers) == set(range(1, attempts + 1))


@pytest.mark.slow
async def test_while_callbacks_wait_between_attempts(server: ServerProcess, receiver: Receiver) -> None:
    receiver.status = lambda arrival: 200 if arrival.attempt == 3 else 503
    async with server.client() as api:
        ids = [await api.submit({**TINY, "callback_url": receiver.url()}) for _ in range(3)]
        for attempt in (1, 2):
            for id in ids:
                await api.attempted(id, attempt)
            await server.restart()
        for id in ids:
            ended = await api.over(id)
            assert (ended["status"], ended["callback_status"]) == ("COMPLETED", "SUCCESS")
            assert ended["callback_attempts"] == 3
            assert await api.attempts(id) == [1, 2, 3]
            check_arrivals(receiver, id, 3)


async def test_while_an_attempt_is_on_the_wire(server: ServerProcess, receiver: Receiver) -> None:
    """The receiver may have taken it, so it gets the same again: same id, same number."""
    receiver.holds = {"slow"}
    async with server.client() as api:
        id = await api.submit({**TINY, "callback_url": receiver.url("slow")})
        await receiver.count(1)
        await server.kill()
        receiver.release()
        await server.start()
        ended = await api.over(id)
        assert (ended["callback_status"], ended["callback_attempts"]) == ("SUCCESS", 1)
        assert await api.attempts(id) == [1]
        check_arrivals(receiver, id, 1)
        assert len(receiver.arrivals) == 2


async def test_while_a_report_runs(server: ServerProcess, receiver: Receiver) -> None:
    async with server.client() as api:
        running = [await api.submit({**held_for(1_500), "callback_url": receiver.url()}) for _ in range(2)]
        for id in running:
            await api.in_status(id, "PROCESSING")
        queued = [await api.submit({**TINY, "callback_url": receiver.url()}) for _ in range(20)]
        await server.restart()
        for id in running + queued:
            ended = await api.over(id)
            assert (ended["status"], ended["callback_status"]) == ("COMPLETED", "SUCCESS")
            async with api.session.get(ended["links"]["report"]) as answer:
                assert answer.status == 200
                assert len(await answer.read()) == ended["result_payload"]["bytes"]
            check_arrivals(receiver, id, 1)


async def test_while_a_client_waits_for_its_report(server: ServerProcess) -> None:
    """The connection breaks; the retry with the same key gets the report of the first request."""
    headers = {"X-Idempotency-Key": "waiting"}
    async with server.client() as api:

        async def post() -> tuple[int, Any]:
            async with api.session.post("/api/sync", json=held_for(800), headers=headers) as answer:
                return answer.status, await answer.json()

        async def begun() -> str | None:
            return next((item["id"] for item in await api.items() if item["status"] == "PROCESSING"), None)

        async def replayed() -> tuple[int, Any] | None:
            reply = await post()
            return None if reply[0] == 409 else reply

        waiting = asyncio.create_task(post())
        id = await until(begun)
        await server.kill()
        with contextlib.suppress(aiohttp.ClientError):
            await waiting
        await server.start()
        reply = await until(replayed)
        assert reply[0] == 200
        assert (reply[1]["id"], reply[1]["status"]) == (id, "COMPLETED")
        assert await post() == reply
        assert len(await api.items()) == 1


async def test_at_any_moment_of_a_mixed_load(server: ServerProcess, receiver: Receiver) -> None:
    """Clients submit through two kills and repeat with their key whatever got no answer."""
    receiver.status = lambda arrival: 503 if arrival.attempt == 1 and arrival.path == "flaky" else 204
    accepted: dict[str, set[str]] = defaultdict(set)
    stop = asyncio.Event()

    async def client(api: Api, number: int) -> None:
        count = 0
        while not stop.is_set():
            key = f"{number}-{count}"
            body = held_for(30) if count % 3 else TINY
            path = "flaky" if count % 2 else "steady"
            try:
                accepted[key].add(await api.submit({**body, "callback_url": receiver.url(path)}, key=key))
                count += 1
            except (aiohttp.ClientError, Refused):
                pass
            await asyncio.sleep(0.03)

    async with server.client() as api:
        clients = [asyncio.create_task(client(api, number)) for number in range(4)]
        for _ in range(2):
            await asyncio.sleep(0.5)
            await server.restart()
        await asyncio.sleep(0.3)
        stop.set()
        await asyncio.gather(*clients)
        ids = [id for same in accepted.values() for id in same]
        # A key never stood for two requests, and nothing that was promised is lost.
        assert all(len(same) <= 1 for same in accepted.values())
        for id in ids:
            ended = await api.over(id)
            assert (ended["status"], ended["callback_status"]) == ("COMPLETED", "SUCCESS")
            assert await api.attempts(id) == list(range(1, ended["callback_attempts"] + 1))
            check_arrivals(receiver, id, ended["callback_attempts"])
        async with api.session.get("/api/requests", params={"status": "FAILED"}) as answer:
            assert (await answer.json())["items"] == []
    assert len(ids) > 10
    print(f"{len(ids)} accepted over {server.starts} lives, {len(receiver.arrivals)} arrivals")


async def test_asked_to_end_it_finishes_what_runs_first(server: ServerProcess, receiver: Receiver) -> None:
    async with server.client() as api:
        id = await api.submit({**held_for(400), "callback_url": receiver.url()})
        await api.in_status(id, "PROCESSING")
        assert await server.terminate() == 0
        await server.start()
        ended = await api.over(id)
        assert (ended["status"], ended["callback_status"]) == ("COMPLETED", "SUCCESS")
        assert await api.attempts(id) == [1]
        check_arrivals(receiver, id, 1)
